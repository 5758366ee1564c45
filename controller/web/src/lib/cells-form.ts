/**
 * The part of the slice form that is about LTE and NR: promises of PRB, and what a slice is on cells.
 *
 * Leaves that the form has no fields for (names of data networks, dedicated ratios, roaming) go back as they came.
 */

import type { Json } from './model';

/** What is typed of cells. */
export interface CellsDraft {
  /** Whether it is on cells at all. */
  onCells: boolean;
  prbDownMin: string;
  prbDownMax: string;
  prbUpMin: string;
  prbUpMax: string;
  aggregate: string;
  rat: string;
  adminState: string;
  mcc: string;
  mnc: string;
  sst: string;
  sd: string;
  /** In the order of preference, with commas between. */
  cores: string;
  maxUes: string;
  /** Subscribers that no slice lists: `permit` lets those of the PLMN in. */
  others: string;
  /** A range a line: `FIRST-LAST`, or one IMSI. */
  imsis: string;
}

export const RATS = ['any', 'lte', 'nr'];
export const ADMIN_STATES = ['unlocked', 'shutting-down', 'locked'];

/** What the configuration of a slice has of cells, as it came. */
export interface CellsConfig {
  /** `ran`; null for a slice that is on no cells. */
  ran: Json | null;
  /** `sla/prb/down` and `sla/prb/up`. */
  prb: { down: Json; up: Json };
  aggregate: number;
}

export const NO_CELLS: CellsConfig = { ran: null, prb: { down: {}, up: {} }, aggregate: 0 };

const IMSI = /^\d{6,15}$/;

interface Range {
  first: string;
  last: string;
  roaming?: boolean;
}

export function cellsDraftOf({ ran, prb, aggregate }: CellsConfig): CellsDraft {
  const word = (leaf: string, otherwise = '') => {
    const value = ran?.[leaf];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : otherwise;
  };
  const share = (of: Json, leaf: string, otherwise: string) => String(Number(of[leaf] ?? otherwise));
  const cores = ran?.core;
  return {
    onCells: ran !== null,
    prbDownMin: share(prb.down, 'min-ratio', '0'),
    prbDownMax: share(prb.down, 'max-ratio', '100'),
    prbUpMin: share(prb.up, 'min-ratio', '0'),
    prbUpMax: share(prb.up, 'max-ratio', '100'),
    aggregate: String(aggregate),
    rat: word('rat', 'any'),
    adminState: word('admin-state', 'unlocked'),
    mcc: word('mcc'),
    mnc: word('mnc'),
    sst: word('sst'),
    sd: word('sd'),
    cores: Array.isArray(cores) ? cores.join(', ') : '',
    maxUes: word('max-ues'),
    others: typeof accessOf(ran)['default-action'] === 'string' ? String(accessOf(ran)['default-action']) : 'deny',
    imsis: ranges(ran).map(written).join('\n'),
  };
}

/** What can't be sent: numbers that are none, and ranges that are none. */
export function checkCells(draft: CellsDraft): Partial<Record<keyof CellsDraft, string>> {
  const errors: Partial<Record<keyof CellsDraft, string>> = {};
  const decimal = /^\d+(\.\d{1,2})?$/;
  for (const field of ['prbDownMin', 'prbDownMax', 'prbUpMin', 'prbUpMax', 'aggregate'] as const) {
    if (!decimal.test(draft[field].trim())) errors[field] = 'a percentage with at most two decimals';
  }
  if (!draft.onCells) return errors;
  for (const field of ['sst', 'maxUes'] as const) {
    if (!/^\d*$/.test(draft[field].trim())) errors[field] = 'a whole number';
  }
  const bad = lines(draft.imsis).find((line) => line.split('-').some((imsi) => !IMSI.test(imsi.trim())));
  if (bad !== undefined) errors.imsis = `${bad} is neither an IMSI nor FIRST-LAST`;
  return errors;
}

/** `ran` of the body; null for a slice that is on no cells. */
export function ranBody(draft: CellsDraft, original: CellsConfig): Json | null {
  if (!draft.onCells) return null;
  const number = (typed: string) => Number(typed.trim());
  // What the form knows nothing of.
  const { sst: _sst, sd: _sd, 'max-ues': _ues, access: _access, ...kept } = original.ran ?? {};
  const typed = lines(draft.imsis).map((line) => {
    const [first = '', last = first] = line.split('-').map((imsi) => imsi.trim());
    const before = ranges(original.ran).find((range) => range.first === first && range.last === last);
    return { first, last, ...(before?.roaming === undefined ? {} : { roaming: before.roaming }) };
  });
  return {
    ...kept,
    rat: draft.rat,
    'admin-state': draft.adminState,
    mcc: draft.mcc.trim(),
    mnc: draft.mnc.trim(),
    ...(draft.sst.trim() === '' ? {} : { sst: number(draft.sst) }),
    ...(draft.sd.trim() === '' ? {} : { sd: draft.sd.trim() }),
    core: draft.cores
      .split(/[\s,]+/)
      .filter((core) => core !== ''),
    ...(draft.maxUes.trim() === '' ? {} : { 'max-ues': number(draft.maxUes) }),
    access: {
      ...accessOf(original.ran),
      'default-action': draft.others,
      'imsi-range': typed,
    },
  };
}

/** `prb` and `aggregate` of the body's `sla`. */
export function slaBody(draft: CellsDraft, original: CellsConfig): Json {
  const share = (kept: Json, min: string, max: string) => ({
    ...kept,
    'min-ratio': decimal64(min),
    'max-ratio': decimal64(max),
  });
  // Promises of PRB go with cells.
  const none = { 'min-ratio': '0.0', 'max-ratio': '100.0' };
  const wanted = draft.onCells
    ? {
        down: share(original.prb.down, draft.prbDownMin, draft.prbDownMax),
        up: share(original.prb.up, draft.prbUpMin, draft.prbUpMax),
      }
    : { down: none, up: none };
  const says = draft.onCells || original.ran !== null;
  const aggregate = Number(draft.aggregate) > 0 || original.aggregate > 0;
  return {
    ...(says ? { prb: wanted } : {}),
    ...(aggregate ? { aggregate: { 'min-ratio': decimal64(draft.aggregate) } } : {}),
  };
}

/** RFC 7951 section 6.1: a string with at least one digit after the point. */
export function decimal64(typed: string): string {
  const value = typed.trim();
  return value.includes('.') ? value : `${value}.0`;
}

function lines(typed: string): string[] {
  return typed
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

function accessOf(ran: Json | null): Json {
  const access = ran?.access;
  return typeof access === 'object' && access !== null ? (access as Json) : {};
}

function ranges(ran: Json | null): Range[] {
  const list = accessOf(ran)['imsi-range'];
  return Array.isArray(list) ? (list as Range[]) : [];
}

function written({ first, last }: Range): string {
  return first === last ? first : `${first}-${last}`;
}
