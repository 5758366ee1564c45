/** What a row shows of a slice or node, worked out once for all components. */

import type { Measure, Node, SlaState, Slice } from './model';

export type Tone = 'good' | 'bad' | 'warn' | 'idle' | 'info';

const URGENCY: Record<SlaState, number> = { violated: 3, met: 2, idle: 1, unknown: 0 };

/** The measure that matters most: a violated one first, then the one furthest below what it is owed. */
export function worst(measures: Measure[] | undefined): Measure | null {
  let chosen: Measure | null = null;
  for (const m of measures ?? []) {
    if (
      !chosen ||
      URGENCY[m.state] > URGENCY[chosen.state] ||
      (m.state === chosen.state && shortfall(m) > shortfall(chosen))
    ) {
      chosen = m;
    }
  }
  return chosen;
}

/** The one state of all promises of a slice, as tranche-sla has it; null before the first report. */
export function slaOf(measures: Measure[] | undefined): SlaState | null {
  const order: SlaState[] = ['violated', 'unknown', 'met', 'idle'];
  return order.find((state) => measures?.some((m) => m.state === state)) ?? null;
}

/** How many slices have a broken promise in some domain. */
export function violatedSlices(latest: Map<string, Measure[]>): number {
  let violated = 0;
  for (const measures of latest.values()) if (measures.some((m) => m.state === 'violated')) violated++;
  return violated;
}

function shortfall(m: Measure): number {
  return (m.owed ?? 0) - (m.measured ?? 0);
}

export function slaTone(state: SlaState): Tone {
  return ({ met: 'good', violated: 'bad', idle: 'idle', unknown: 'idle' } as const)[state];
}

export function sliceTone(state: string): Tone {
  switch (state) {
    case 'active':
      return 'good';
    case 'degraded':
    case 'pending':
      return 'warn';
    case 'failed':
      return 'bad';
    default:
      return 'idle';
  }
}

export function nodeTone(state: string): Tone {
  switch (state) {
    case 'connected':
      return 'good';
    case 'connecting':
      return 'warn';
    case 'unreachable':
    case 'refused':
      return 'bad';
    default:
      return 'idle';
  }
}

const PLACES: [string, string][] = [
  ['prb-down ', 'PRB down '],
  ['prb-up ', 'PRB up '],
];

/** A place (see `placeOf`) in the operator's words; a domain of Wi-Fi bears its own name. */
export function placeName(place: string): string {
  if (place.startsWith('aggregate ')) return 'mean of all';
  for (const [start, name] of PLACES) if (place.startsWith(start)) return name + place.slice(start.length);
  return place;
}

/** What is shared in a place. */
export function technologyOf(place: string): string {
  if (place.startsWith('aggregate ')) return 'Aggregate';
  return place.startsWith('prb-') ? 'PRB' : 'Airtime';
}

/** UEs of a slice on all cells; null where no node tells. */
export function ues(slice: Slice): number | null {
  const told = slice.cells.flatMap((c) => (c.ues === null ? [] : [c.ues]));
  return told.length === 0 ? null : told.reduce((sum, n) => sum + n, 0);
}

export function stations(slice: Slice): number {
  return slice.accessPoints.reduce((sum, a) => sum + a.stations, 0);
}

/** Where a slice is, in a few words. */
export function place(slice: Slice): string {
  const parts = [
    some(slice.nodes, 'node'),
    some(slice.sites, 'site', 'site '),
    some(slice.labels, 'label', 'label '),
    slice.bands.join(', '),
    some(slice.cellNames, 'cell', 'cell '),
  ];
  return parts.filter((p) => p !== '').join(' · ');
}

function some(names: string[], one: string, prefix = ''): string {
  if (names.length === 0) return '';
  if (names.length <= 3) return prefix + names.join(', ');
  return `${names.length} ${one}s`;
}

/** The nodes with a radio in a domain; null where the inventory knows of none. */
export function nodesOfDomain(nodes: Node[], domain: string): Set<string> | null {
  const found = new Set(nodes.filter((n) => n.radios.some((r) => r.domain === domain)).map((n) => n.name));
  return found.size > 0 ? found : null;
}
