/**
 * What the modules tranche-inventory, -slice and -sla say, as plain values.
 *
 * Readers from RFC 7951 JSON: decimal64 and 64-bit numbers come as strings, absent leaves get the default of
 * their module, times become epoch milliseconds. Nothing here talks to anybody.
 */

import type { CellsConfig } from './cells-form';
import { readSteering, type Steering } from './steering';

export type SlaState = 'met' | 'violated' | 'idle' | 'unknown';

export interface Radio {
  name: string;
  band: string;
  channel: number | null;
  vifs: number | null;
  maxVifs: number | null;
  /** Percent of the last report. */
  busy: number | null;
  domain: string | null;
  hears: string[];
}

/** An LTE or NR cell of a node. Shares in percent of its PRB. */
export interface Cell {
  name: string;
  rat: string;
  prb: number | null;
  state: string;
  ues: number | null;
  usedDown: number | null;
  usedUp: number | null;
  /** What can still be promised. */
  unpromisedDown: number | null;
  unpromisedUp: number | null;
}

export interface Node {
  name: string;
  enabled: boolean;
  address: string;
  port: number;
  credential: string;
  hostKey: string;
  site: string | null;
  labels: string[];
  state: string;
  since: number | null;
  lastError: string | null;
  sessionId: number | null;
  inSync: boolean | null;
  drift: string | null;
  lastRead: number | null;
  lastReport: number | null;
  lostReports: number;
  radios: Radio[];
  cells: Cell[];
}

export interface Site {
  name: string;
  description: string;
}

export interface Inventory {
  sites: Site[];
  nodes: Node[];
}

export interface AccessPoint {
  node: string;
  name: string;
  radio: string;
  state: string;
  stations: number;
  usedRatio: number | null;
}

/** A slice on one cell. */
export interface SliceCell {
  node: string;
  name: string;
  profile: string;
  rat: string;
  state: string;
  cause: string | null;
  core: string | null;
  ues: number | null;
  usedDown: number | null;
  usedUp: number | null;
  /** Bit/s. */
  throughputDown: number | null;
  throughputUp: number | null;
  /** Mean and 99 % of how long packets waited, µs. */
  delayDown: number | null;
  delayUp: number | null;
  delayP99Down: number | null;
  delayP99Up: number | null;
}

export interface Slice {
  id: string;
  tenant: string;
  description: string;
  enabled: boolean;
  minRatio: number;
  maxRatio: number;
  /** Guaranteed of each cell, percent. */
  prbDown: number;
  prbUp: number;
  /** Guaranteed mean over all domains and cells; 0: none. */
  aggregate: number;
  priority: number;
  nodes: string[];
  sites: string[];
  labels: string[];
  bands: string[];
  /** Only cells of these names; all where empty. */
  cellNames: string[];
  hasWifi: boolean;
  hasRan: boolean;
  /** What it has of cells, for the form. */
  onCells: CellsConfig;
  ssid: string;
  hidden: boolean;
  maxStations: number | null;
  isolation: boolean;
  security: Security;
  /** What of `wifi` the form has no fields for: it goes back as it came. */
  kept: { roaming?: Json; attachment?: Json };
  state: string;
  appliedAt: number | null;
  message: string | null;
  accessPoints: AccessPoint[];
  cells: SliceCell[];
  /** Its encrypted path; null without. */
  backhaul: Backhaul | null;
  /** What it steers at nodes; null without. */
  steering: Steering | null;
}

/** What the form and the page know of a backhaul. */
export interface Backhaul {
  /** The node that is its first hub; null where that is a tenant's gateway, or there is none. */
  hub: string | null;
  pool: string;
  clientPool: string | null;
  state: string;
  /** The hub that carries the traffic. */
  current: string | null;
  /** When what was done, by the model's names. */
  lifecycle: { name: string; time: number }[];
  ends: TunnelEnd[];
}

/** The tunnel of a slice at one node. */
export interface TunnelEnd {
  node: string;
  role: string;
  address: string | null;
  state: string;
  peers: TunnelPeer[];
}

export interface TunnelPeer {
  name: string;
  state: string;
  handshake: number | null;
  /** Round trip, in milliseconds. */
  rtt: number | null;
  sent: number;
  received: number;
}

export interface Security {
  mode: string;
  /** Null where it is not set, or not for us to read. */
  passphrase: string | null;
  radius: { address: string; port: number; secret: string | null } | null;
}

export type Technology = 'airtime' | 'prb-down' | 'prb-up' | 'aggregate';

export interface Measure {
  slice: string;
  technology: Technology;
  domain: string;
  owed: number | null;
  measured: number | null;
  backlogged: boolean;
  state: SlaState;
}

/** Of an interface, or of a direction of a slice profile on a cell. */
export interface Correction {
  node: string;
  /** The interface, or the slice profile. */
  vif: string;
  /** Null for an interface. */
  cell: { name: string; technology: Technology } | null;
  slice: string;
  minRatio: number | null;
  maxRatio: number | null;
}

export interface Period {
  sequence: number;
  time: number;
  schedulerEnabled: boolean;
  measures: Measure[];
  corrections: Correction[];
}

export interface Scheduler {
  enabled: boolean;
  /** Milliseconds. */
  interval: number;
}

/** What a slice got in one domain, from the operational state of `tranche-sla`. */
export interface DomainState {
  technology: Technology;
  name: string;
  radios: string[];
  available: number | null;
  owed: number | null;
  measured: number | null;
  backlogged: boolean;
  state: SlaState;
  since: number | null;
  violations: number;
  corrections: number;
  /** Why nothing is corrected there, in the node's words. */
  refused: string | null;
}

export interface Sla {
  scheduler: Scheduler;
  domains: Map<string, DomainState[]>;
  history: Period[];
}

export type Notice =
  | { kind: 'period'; period: Period }
  | { kind: 'violated'; time: number; measure: Measure }
  | { kind: 'cleared'; time: number; measure: Measure; violatedFor: number | null }
  | { kind: 'infeasible'; time: number; place: string; slice: string | null; available: number | null; owed: number | null }
  | { kind: 'node'; time: number; node: string; state: string; reason: string | null }
  | { kind: 'other'; time: number; name: string };

export const SECURITY_MODES = [
  'open',
  'owe',
  'wpa2-personal',
  'wpa2-wpa3-personal',
  'wpa3-personal',
  'wpa2-enterprise',
  'wpa3-enterprise',
] as const;

export const BANDS = ['2.4GHz', '5GHz', '6GHz'] as const;

export type Json = Record<string, unknown>;

export function readInventory(body: unknown): Inventory {
  const root = child(object(body), 'tranche-inventory:inventory');
  return {
    sites: list(root, 'site').map((s) => ({ name: text(s.name) ?? '', description: text(s.description) ?? '' })),
    nodes: list(root, 'node').map(readNode).sort(byName),
  };
}

function readNode(n: Json): Node {
  const state = child(n, 'state');
  const enabled = flag(n.enabled, true);
  return {
    name: text(n.name) ?? '',
    enabled,
    address: text(n.address) ?? '',
    port: number(n.port) ?? 830,
    credential: text(n.credential) ?? '',
    hostKey: text(n['host-key']) ?? '',
    site: text(n.site),
    labels: words(n.label),
    state: text(state['oper-state']) ?? (enabled ? 'connecting' : 'disabled'),
    since: time(state.since),
    lastError: text(state['last-error']),
    sessionId: number(state['session-id']),
    inSync: typeof state['in-sync'] === 'boolean' ? state['in-sync'] : null,
    drift: text(state.drift),
    lastRead: time(state['last-read']),
    lastReport: time(state['last-report']),
    lostReports: number(state['lost-reports']) ?? 0,
    cells: list(state, 'cell').map((c) => ({
      name: text(c.name) ?? '',
      rat: text(c.rat) ?? '',
      prb: number(c['bandwidth-prb']),
      state: text(c['oper-state']) ?? 'unknown',
      ues: number(c.ues),
      usedDown: number(c['used-down']),
      usedUp: number(c['used-up']),
      unpromisedDown: number(c['unpromised-down']),
      unpromisedUp: number(c['unpromised-up']),
    })),
    radios: list(state, 'radio').map((r) => ({
      name: text(r.name) ?? '',
      band: text(r.band) ?? '',
      channel: number(r.channel),
      vifs: number(r.vifs),
      maxVifs: number(r['max-vifs']),
      busy: number(r.busy),
      domain: text(r.domain),
      hears: words(r.hears),
    })),
  };
}

export function readSlices(body: unknown): Slice[] {
  return list(child(object(body), 'tranche-slice:slices'), 'slice')
    .map(readSlice)
    .sort(byId);
}

/** The reply to a GET of one list entry. */
export function readOneSlice(body: unknown): Slice | null {
  const first = list(object(body), 'tranche-slice:slice')[0];
  return first ? readSlice(first) : null;
}

function readSlice(s: Json): Slice {
  const sla = child(s, 'sla');
  const airtime = child(sla, 'airtime');
  const prb = child(sla, 'prb');
  const where = child(s, 'where');
  const wifi = child(s, 'wifi');
  const security = child(wifi, 'security');
  const radius = security.radius === undefined ? null : child(security, 'radius');
  const state = child(s, 'state');
  const enabled = flag(s.enabled, true);
  return {
    id: text(s.id) ?? '',
    tenant: text(s.tenant) ?? '',
    description: text(s.description) ?? '',
    enabled,
    minRatio: number(airtime['min-ratio']) ?? 0,
    maxRatio: number(airtime['max-ratio']) ?? 100,
    prbDown: number(child(prb, 'down')['min-ratio']) ?? 0,
    prbUp: number(child(prb, 'up')['min-ratio']) ?? 0,
    aggregate: number(child(sla, 'aggregate')['min-ratio']) ?? 0,
    priority: number(sla.priority) ?? 0,
    nodes: words(where.node),
    sites: words(where.site),
    labels: words(where.label),
    bands: words(where.band),
    cellNames: words(where.cell),
    hasWifi: s.wifi !== undefined,
    hasRan: s.ran !== undefined,
    onCells: {
      ran: s.ran === undefined ? null : child(s, 'ran'),
      prb: { down: child(prb, 'down'), up: child(prb, 'up') },
      aggregate: number(child(sla, 'aggregate')['min-ratio']) ?? 0,
    },
    ssid: text(wifi.ssid) ?? '',
    hidden: flag(wifi.hidden, false),
    maxStations: number(wifi['max-stations']),
    isolation: flag(wifi['station-isolation'], true),
    security: {
      mode: text(security.mode) ?? 'wpa3-personal',
      passphrase: text(security.passphrase),
      radius: radius && {
        address: text(radius.address) ?? '',
        port: number(radius.port) ?? 1812,
        secret: text(radius.secret),
      },
    },
    kept: {
      ...(wifi.roaming === undefined ? {} : { roaming: child(wifi, 'roaming') }),
      ...(wifi.attachment === undefined ? {} : { attachment: child(wifi, 'attachment') }),
    },
    state: text(state['oper-state']) ?? (enabled ? 'pending' : 'disabled'),
    appliedAt: time(state['applied-at']),
    message: text(state.message),
    backhaul: s.backhaul === undefined ? null : readBackhaul(child(s, 'backhaul'), child(state, 'backhaul')),
    cells: list(state, 'cell').map((c) => ({
      node: text(c.node) ?? '',
      name: text(c.name) ?? '',
      profile: text(c.profile) ?? '',
      rat: text(c.rat) ?? '',
      state: text(c['oper-state']) ?? 'unknown',
      cause: text(c.cause),
      core: text(c['active-core']),
      ues: number(c.ues),
      usedDown: number(c['used-down']),
      usedUp: number(c['used-up']),
      throughputDown: number(c['throughput-down']),
      throughputUp: number(c['throughput-up']),
      delayDown: number(c['delay-down']),
      delayUp: number(c['delay-up']),
      delayP99Down: number(c['delay-p99-down']),
      delayP99Up: number(c['delay-p99-up']),
    })),
    steering: readSteering(s.steering, child(state, 'steering')),
    accessPoints: list(state, 'access-point').map((a) => ({
      node: text(a.node) ?? '',
      name: text(a.name) ?? '',
      radio: text(a.radio) ?? '',
      state: text(a['oper-state']) ?? 'unknown',
      stations: number(a.stations) ?? 0,
      usedRatio: number(a['used-ratio']),
    })),
  };
}

function readBackhaul(config: Json, state: Json): Backhaul {
  const lifecycle = child(state, 'lifecycle');
  return {
    hub: text(list(config, 'hub')[0]?.node),
    pool: text(config.pool) ?? '',
    clientPool: text(config['client-pool']),
    state: text(state['oper-state']) ?? 'unknown',
    current: text(state.hub),
    lifecycle: ['asked', 'compiled', 'first-handshake', 'first-packet', 'committed'].flatMap((name) => {
      const at = time(lifecycle[name]);
      return at === null ? [] : [{ name, time: at }];
    }),
    ends: list(state, 'node').map((n) => ({
      node: text(n.name) ?? '',
      role: text(n.role) ?? '',
      address: text(n.address),
      state: text(n['oper-state']) ?? 'unknown',
      peers: list(n, 'peer').map((p) => {
        const rtt = number(p.rtt);
        return {
          name: text(p.name) ?? '',
          state: text(p.state) ?? 'unknown',
          handshake: time(p['latest-handshake']),
          rtt: rtt === null ? null : rtt / 1000,
          sent: number(p['tx-bytes']) ?? 0,
          received: number(p['rx-bytes']) ?? 0,
        };
      }),
    })),
  };
}

export function readSla(body: unknown): Sla {
  const root = child(object(body), 'tranche-sla:sla');
  const domains = new Map<string, DomainState[]>();
  for (const s of list(root, 'slice')) domains.set(text(s.id) ?? '', readDomains(s));
  return {
    scheduler: readScheduler(child(root, 'scheduler')),
    domains,
    history: list(child(root, 'history'), 'period').map((p) => readPeriod(p, time(p.time) ?? 0)),
  };
}

/** The reply to a GET of one `sla/slice` entry. */
export function readSliceSla(body: unknown): DomainState[] {
  const first = list(object(body), 'tranche-sla:slice')[0];
  return first ? readDomains(first) : [];
}

function readScheduler(s: Json): Scheduler {
  return { enabled: flag(s.enabled, true), interval: number(s.interval) ?? 2000 };
}

function readDomains(slice: Json): DomainState[] {
  return list(slice, 'domain').map((d) => ({
    technology: technology(d.technology),
    name: text(d.name) ?? '',
    radios: words(d.radio),
    available: number(d.available),
    owed: number(d.owed),
    measured: number(d.measured),
    backlogged: flag(d.backlogged, false),
    state: slaState(d.state),
    since: time(d.since),
    violations: number(d.violations) ?? 0,
    corrections: number(d.corrections) ?? 0,
    refused: text(d.refused),
  }));
}

/** An event of the stream; null where it is no notification at all. */
export function readNotice(data: string): Notice | null {
  let body: Json;
  try {
    body = child(object(JSON.parse(data)), 'ietf-restconf:notification');
  } catch {
    return null;
  }
  const at = time(body.eventTime);
  const name = Object.keys(body).find((key) => key.includes(':'));
  if (at === null || name === undefined) return null;
  const event = child(body, name);
  switch (name) {
    case 'tranche-sla:sla-period':
      return { kind: 'period', period: readPeriod(event, at) };
    case 'tranche-sla:sla-violated':
      return { kind: 'violated', time: at, measure: readMeasure(event) };
    case 'tranche-sla:sla-cleared':
      return { kind: 'cleared', time: at, measure: readMeasure(event), violatedFor: number(event['violated-for']) };
    case 'tranche-sla:sla-infeasible':
      return {
        kind: 'infeasible',
        time: at,
        place: placeOf({ technology: technology(event.technology), domain: text(event.domain) ?? '' }),
        slice: text(event.slice),
        available: number(event.available),
        owed: number(event.owed),
      };
    case 'tranche-inventory:node-state-change':
      return {
        kind: 'node',
        time: at,
        node: text(event.node) ?? '',
        state: text(event['oper-state']) ?? 'unknown',
        reason: text(event.reason),
      };
    default:
      return { kind: 'other', time: at, name };
  }
}

function readPeriod(p: Json, at: number): Period {
  return {
    sequence: number(p.sequence) ?? 0,
    time: at,
    schedulerEnabled: flag(p['scheduler-enabled'], true),
    measures: list(p, 'measure').map(readMeasure),
    corrections: [
      ...list(p, 'correction').map((c) => ({
        node: text(c.node) ?? '',
        vif: text(c.vif) ?? '',
        cell: null,
        slice: text(c.slice) ?? '',
        minRatio: number(c['min-ratio']),
        maxRatio: number(c['max-ratio']),
      })),
      ...list(p, 'prb-correction').map((c) => ({
        node: text(c.node) ?? '',
        vif: text(c['slice-profile']) ?? '',
        cell: { name: text(c.cell) ?? '', technology: technology(`prb-${text(c.direction) ?? 'down'}`) },
        slice: text(c.slice) ?? '',
        minRatio: number(c['min-ratio']),
        maxRatio: null,
      })),
    ],
  };
}

function readMeasure(m: Json): Measure {
  return {
    slice: text(m.slice) ?? '',
    technology: technology(m.technology),
    domain: text(m.domain) ?? '',
    owed: number(m.owed),
    measured: number(m.measured),
    backlogged: flag(m.backlogged, false),
    state: slaState(m.state),
  };
}

export interface StreamInfo {
  name: string;
  /** Path and query at this origin, for JSON. */
  location: string;
}

/** The event streams of `ietf-restconf-monitoring` (RFC 8040 section 9.3) that can be had as JSON. */
export function readStreams(body: unknown, origin: string): StreamInfo[] {
  const streams: StreamInfo[] = [];
  for (const s of list(child(object(body), 'ietf-restconf-monitoring:streams'), 'stream')) {
    const access = list(s, 'access').find((a) => text(a.encoding)?.includes('json'));
    const location = access && text(access.location);
    if (!location) continue;
    const url = new URL(location, origin);
    // Only this origin may be asked (content security policy); behind a proxy the named host is another one.
    streams.push({ name: text(s.name) ?? '', location: url.pathname + url.search });
  }
  return streams;
}

function technology(value: unknown): Technology {
  return value === 'prb-down' || value === 'prb-up' || value === 'aggregate' ? value : 'airtime';
}

/** One text for a technology and a domain: what is promised, and where. */
export function placeOf({ technology, domain }: { technology: Technology; domain: string }): string {
  return technology === 'airtime' ? domain : `${technology} ${domain}`;
}

function slaState(value: unknown): SlaState {
  return value === 'met' || value === 'violated' || value === 'idle' ? value : 'unknown';
}

export function object(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

export function child(of: Json, name: string): Json {
  return object(of[name]);
}

export function list(of: Json, name: string): Json[] {
  const value = of[name];
  return Array.isArray(value) ? value.map(object) : [];
}

export function words(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((v): v is string => typeof v === 'string') : [];
}

export function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function flag(value: unknown, otherwise: boolean): boolean {
  return typeof value === 'boolean' ? value : otherwise;
}

export function number(value: unknown): number | null {
  if (typeof value === 'number') return value;
  if (typeof value !== 'string' || value === '') return null;
  const n = Number(value);
  return Number.isFinite(n) ? n : null;
}

export function time(value: unknown): number | null {
  const at = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(at) ? null : at;
}

const collator = new Intl.Collator('en', { numeric: true });

function byName(a: { name: string }, b: { name: string }): number {
  return collator.compare(a.name, b.name);
}

function byId(a: { id: string }, b: { id: string }): number {
  return collator.compare(a.id, b.id);
}
