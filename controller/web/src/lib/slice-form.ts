/**
 * The slice form: a draft of what was typed, the RESTCONF requests that make it so, and which field an error is about.
 *
 * Checks only what can't be sent at all. Everything else is the controller's to judge: it knows the schema and the nodes.
 */

import {
  cellsDraftOf,
  checkCells,
  decimal64,
  NO_CELLS,
  ranBody,
  slaBody,
  type CellsDraft,
} from './cells-form';
import type { Slice } from './model';
import { entry, type RpcError } from './restconf';

/** All fields as the form holds them: text stays text until it is sent. */
export interface Draft extends CellsDraft {
  id: string;
  tenant: string;
  description: string;
  enabled: boolean;
  minRatio: string;
  maxRatio: string;
  priority: string;
  nodes: string[];
  sites: string[];
  labels: string[];
  bands: string[];
  ssid: string;
  hidden: boolean;
  maxStations: string;
  isolation: boolean;
  mode: string;
  passphrase: string;
  radiusAddress: string;
  radiusPort: string;
  radiusSecret: string;
  /** Node that is the hub of a backhaul; empty for a slice without. Only for one that has none yet. */
  hub: string;
  pool: string;
}

export type Field = keyof Draft | 'where';
export type FieldErrors = Partial<Record<Field, string>>;

export interface Request {
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  body?: unknown;
}

export const SLICES = 'tranche-slice:slices';

export function slicePath(id: string): string {
  return `${SLICES}/${entry('slice', id)}`;
}

export const isPersonal = (mode: string) => mode.includes('personal');
export const isEnterprise = (mode: string) => mode.includes('enterprise');

export function draftOf(slice: Slice | null): Draft {
  return {
    id: slice?.id ?? '',
    tenant: slice?.tenant ?? '',
    description: slice?.description ?? '',
    enabled: slice?.enabled ?? true,
    minRatio: String(slice?.minRatio ?? 0),
    maxRatio: String(slice?.maxRatio ?? 100),
    priority: String(slice?.priority ?? 0),
    nodes: [...(slice?.nodes ?? [])],
    sites: [...(slice?.sites ?? [])],
    labels: [...(slice?.labels ?? [])],
    bands: [...(slice?.bands ?? [])],
    ssid: slice?.ssid ?? '',
    hidden: slice?.hidden ?? false,
    maxStations: slice?.maxStations == null ? '' : String(slice.maxStations),
    isolation: slice?.isolation ?? true,
    mode: slice?.security.mode ?? 'wpa3-personal',
    passphrase: slice?.security.passphrase ?? '',
    radiusAddress: slice?.security.radius?.address ?? '',
    radiusPort: String(slice?.security.radius?.port ?? 1812),
    radiusSecret: slice?.security.radius?.secret ?? '',
    hub: slice?.backhaul?.hub ?? '',
    pool: slice?.backhaul?.pool ?? '',
    ...cellsDraftOf(slice?.onCells ?? NO_CELLS),
  };
}

/** What can't be sent: no key, and numbers that are none. */
export function check(draft: Draft): FieldErrors {
  const errors: FieldErrors = checkCells(draft);
  if (draft.id.trim() === '') errors.id = 'a slice needs an identifier';
  const decimal = /^\d+(\.\d{1,2})?$/;
  if (!decimal.test(draft.minRatio.trim())) errors.minRatio = 'a percentage with at most two decimals';
  if (!decimal.test(draft.maxRatio.trim())) errors.maxRatio = 'a percentage with at most two decimals';
  const whole = /^\d+$/;
  if (!whole.test(draft.priority.trim())) errors.priority = 'a whole number';
  if (draft.maxStations.trim() !== '' && !whole.test(draft.maxStations.trim())) errors.maxStations = 'a whole number';
  if (draft.hub.trim() !== '' && draft.pool.trim() === '') errors.pool = 'a prefix for the addresses of the tunnels';
  if (isEnterprise(draft.mode) && !whole.test(draft.radiusPort.trim())) errors.radiusPort = 'a port number';
  return errors;
}

/** True where the slice has a secret that we may not read and the draft keeps. */
export function keepsSecret(draft: Draft, original: Slice | null): boolean {
  if (!original?.hasWifi) return false;
  const { mode, passphrase, radius } = original.security;
  if (isPersonal(draft.mode)) return isPersonal(mode) && passphrase === null && draft.passphrase === '';
  if (isEnterprise(draft.mode)) return isEnterprise(mode) && radius?.secret === null && draft.radiusSecret === '';
  return false;
}

/** Whether it has a mobility domain whose key, if it has one, is not for us to read. */
function keepsKey(original: Slice): boolean {
  const { roaming } = original.kept;
  return roaming?.['mobility-domain'] !== undefined && roaming['mobility-key'] === undefined;
}

/**
 * The requests that bring the draft about. One (a transaction by itself) wherever possible: POST for a new slice, so that
 * it never replaces one; PUT for a changed one. Where a secret is kept that can't be read, or a backhaul or steering of which the form
 * shows a part, PUT would drop it: then what is set goes in one PATCH, and what is taken away or replaced follows.
 */
export function requests(draft: Draft, original: Slice | null): Request[] {
  const body = sliceBody(draft, original);
  if (!original) return [{ method: 'POST', path: SLICES, body: { 'tranche-slice:slice': [body] } }];
  const path = slicePath(original.id);
  const partly = original.backhaul !== null || original.steering !== null;
  const replaces = !keepsSecret(draft, original) && !keepsKey(original) && !partly;
  if (replaces) return [{ method: 'PUT', path, body: { 'tranche-slice:slice': [body] } }];
  const all: Request[] = [];
  const removes = takesAway(draft, original);
  const { where, ran, ...rest } = body;
  const merged = removes.where ? rest : { ...rest, where };
  if (!onlyWhereDiffers(draft, original) || !removes.where) {
    all.push({ method: 'PATCH', path, body: { 'tranche-slice:slice': [merged] } });
  }
  if (removes.where) all.push({ method: 'PUT', path: `${path}/where`, body: { 'tranche-slice:where': where } });
  const before = ranBody(draftOf(original), original.onCells);
  if (ran && JSON.stringify(ran) !== JSON.stringify(before)) {
    all.push({ method: 'PUT', path: `${path}/ran`, body: { 'tranche-slice:ran': ran } });
  }
  if (!ran && original.hasRan) all.push({ method: 'DELETE', path: `${path}/ran` });
  if (removes.maxStations) all.push({ method: 'DELETE', path: `${path}/wifi/max-stations` });
  return all;
}

/** The same request as a question: what it would do. */
export function asDryRun(request: Request): Request {
  return { ...request, path: `${request.path}?dry-run` };
}

/** Whether two readings of a slice would fill the form alike. */
export function sameConfiguration(a: Slice, b: Slice): boolean {
  return JSON.stringify(draftOf(a)) === JSON.stringify(draftOf(b));
}

export function enabledPatch(id: string, enabled: boolean): Request {
  return { method: 'PATCH', path: slicePath(id), body: { 'tranche-slice:slice': [{ id, enabled }] } };
}

function sliceBody(d: Draft, original: Slice | null) {
  const where: Record<string, string[]> = {};
  if (d.nodes.length > 0) where.node = d.nodes;
  if (d.sites.length > 0) where.site = d.sites;
  if (d.labels.length > 0) where.label = d.labels;
  if (d.bands.length > 0) where.band = d.bands;
  if ((original?.cellNames.length ?? 0) > 0) where.cell = original?.cellNames ?? [];
  // On cells only: there is nothing to say of Wi-Fi.
  const cellsOnly = d.ssid === '' && (original ? !original.hasWifi : d.onCells);
  const ran = ranBody(d, original?.onCells ?? NO_CELLS);
  return {
    id: d.id.trim(),
    ...(d.tenant.trim() === '' ? {} : { tenant: d.tenant.trim() }),
    ...(d.description === '' && !original?.description ? {} : { description: d.description }),
    enabled: d.enabled,
    sla: {
      ...(cellsOnly
        ? {}
        : { airtime: { 'min-ratio': decimal64(d.minRatio), 'max-ratio': decimal64(d.maxRatio) } }),
      ...slaBody(d, original?.onCells ?? NO_CELLS),
      priority: Number(d.priority),
    },
    where,
    ...(cellsOnly
      ? {}
      : {
          wifi: {
            ...(d.ssid === '' ? {} : { ssid: d.ssid }),
            hidden: d.hidden,
            ...(d.maxStations.trim() === '' ? {} : { 'max-stations': Number(d.maxStations) }),
            'station-isolation': d.isolation,
            security: securityBody(d),
            ...original?.kept,
          },
        }),
    ...(ran === null ? {} : { ran }),
    ...backhaulBody(d, original),
  };
}

/** A new backhaul with one hub. One that is there stays as it is. */
function backhaulBody(d: Draft, original: Slice | null) {
  if (d.hub.trim() === '' || (original?.backhaul ?? null) !== null) return {};
  const hub = d.hub.trim();
  return { backhaul: { pool: d.pool.trim(), hub: [{ name: hub, node: hub }] } };
}

function securityBody(d: Draft) {
  return {
    mode: d.mode,
    ...(isPersonal(d.mode) && d.passphrase !== '' ? { passphrase: d.passphrase } : {}),
    ...(isEnterprise(d.mode)
      ? {
          radius: {
            ...(d.radiusAddress.trim() === '' ? {} : { address: d.radiusAddress.trim() }),
            port: Number(d.radiusPort),
            ...(d.radiusSecret === '' ? {} : { secret: d.radiusSecret }),
          },
        }
      : {}),
  };
}

function takesAway(draft: Draft, original: Slice): { where: boolean; maxStations: boolean } {
  const lost = (before: string[], after: string[]) => before.some((b) => !after.includes(b));
  return {
    where:
      lost(original.nodes, draft.nodes) ||
      lost(original.sites, draft.sites) ||
      lost(original.labels, draft.labels) ||
      lost(original.bands, draft.bands),
    maxStations: original.maxStations !== null && draft.maxStations.trim() === '',
  };
}

function onlyWhereDiffers(draft: Draft, original: Slice): boolean {
  const bare = (d: Draft) => JSON.stringify({ ...d, nodes: [], sites: [], labels: [], bands: [], maxStations: '' });
  const stationsSet = draft.maxStations.trim() !== '' && Number(draft.maxStations) !== original.maxStations;
  return bare(draft) === bare(draftOf(original)) && !stationsSet;
}

const FIELD_OF_PATH: Record<string, Field> = {
  id: 'id',
  tenant: 'tenant',
  description: 'description',
  enabled: 'enabled',
  'sla/airtime/min-ratio': 'minRatio',
  'sla/airtime/max-ratio': 'maxRatio',
  'sla/priority': 'priority',
  where: 'where',
  'where/node': 'nodes',
  'where/site': 'sites',
  'where/label': 'labels',
  'where/band': 'bands',
  'wifi/ssid': 'ssid',
  'wifi/hidden': 'hidden',
  'wifi/max-stations': 'maxStations',
  'wifi/station-isolation': 'isolation',
  'wifi/security': 'mode',
  'wifi/security/mode': 'mode',
  'wifi/security/passphrase': 'passphrase',
  'wifi/security/radius': 'radiusAddress',
  'wifi/security/radius/address': 'radiusAddress',
  'wifi/security/radius/port': 'radiusPort',
  'wifi/security/radius/secret': 'radiusSecret',
  'sla/prb/down/min-ratio': 'prbDownMin',
  'sla/prb/down/max-ratio': 'prbDownMax',
  'sla/prb/up/min-ratio': 'prbUpMin',
  'sla/prb/up/max-ratio': 'prbUpMax',
  'sla/prb': 'prbDownMin',
  'sla/aggregate/min-ratio': 'aggregate',
  ran: 'onCells',
  'ran/rat': 'rat',
  'ran/admin-state': 'adminState',
  'ran/mcc': 'mcc',
  'ran/mnc': 'mnc',
  'ran/sst': 'sst',
  'ran/sd': 'sd',
  'ran/core': 'cores',
  'ran/max-ues': 'maxUes',
  'ran/access/default-action': 'others',
  'ran/access/imsi-range': 'imsis',
  'ran/access/imsi-range/first': 'imsis',
  'ran/access/imsi-range/last': 'imsis',
  'backhaul/pool': 'pool',
  'backhaul/hub': 'hub',
  'backhaul/hub/node': 'hub',
};

const FIELD_OF_APP_TAG: Record<string, Field> = {
  'no-place': 'where',
  'missing-passphrase': 'passphrase',
  'missing-radius': 'radiusAddress',
};

/** The field an error is about; null where it is about none of them, or about another slice. */
export function fieldOf(error: RpcError, id: string): Field | null {
  const inside = error.path === null ? null : insideSlice(error.path);
  if (inside && inside.key !== null && inside.key !== id) return null;
  const byTag = error.appTag === null ? undefined : FIELD_OF_APP_TAG[error.appTag];
  if (byTag && (inside || error.path === null)) return byTag;
  if (!inside) return null;
  if (inside.path === '' && (error.tag === 'data-exists' || error.tag === 'missing-element')) return 'id';
  return FIELD_OF_PATH[missing(error, inside.path)] ?? null;
}

/** What is missing has no place of its own: the path leads to its parent, and the text names it. */
function missing(error: RpcError, parent: string): string {
  const name = error.tag === 'data-missing' ? /"([\w.-]+)"/.exec(error.message)?.[1] : undefined;
  const path = name === undefined ? parent : [parent, name].filter((part) => part !== '').join('/');
  return path in FIELD_OF_PATH ? path : parent;
}

/** Key and inner path of an instance-identifier within one slice, from the root or from a new entry; null elsewhere. */
function insideSlice(path: string): { key: string | null; path: string } | null {
  const match =
    /^(?:\/(?:[\w.-]+:)?slices)?\/(?:[\w.-]+:)?slice(?:\[(?:[\w.-]+:)?id=(?:'([^']*)'|"([^"]*)")\])?(\/.*)?$/.exec(path);
  if (!match) return null;
  const inner = (match[3] ?? '')
    .replace(/\[(?:'[^']*'|"[^"]*"|[^\]'"])*\]/g, '')
    .split('/')
    .filter((part) => part !== '')
    .map((part) => part.slice(part.indexOf(':') + 1))
    .join('/');
  return { key: match[1] ?? match[2] ?? null, path: inner };
}

export interface Refusal {
  fields: FieldErrors;
  /** What belongs to no field, with its path. */
  general: { message: string; path: string | null }[];
}

/** Sorts the server's errors to the fields of the form. */
export function refusal(errors: RpcError[], id: string): Refusal {
  const fields: FieldErrors = {};
  const general: Refusal['general'] = [];
  for (const error of errors) {
    const field = fieldOf(error, id);
    if (field) fields[field] = [fields[field], error.message].filter((m) => m !== undefined).join('; ');
    else general.push({ message: error.message, path: error.path });
  }
  return { fields, general };
}
