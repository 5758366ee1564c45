/**
 * The last periods, in order of time, and what a chart draws of them.
 *
 * One `Timeline` serves all slices; columns of one slice are made when a chart asks, so that 250 slices cost nothing
 * while they are out of sight.
 */

import { placeOf, type Correction, type Measure, type Period } from './model';

interface Kept {
  sequence: number;
  time: number;
  schedulerEnabled: boolean;
  measures: Map<string, Measure>;
  corrections: Map<string, Correction[]>;
}

/** Spans are in seconds since the epoch, as the chart's x axis is. */
export interface Span {
  from: number;
  to: number;
}

export interface Columns {
  /** Seconds since the epoch. */
  x: number[];
  owed: (number | null)[];
  measured: (number | null)[];
  violated: Span[];
  schedulerOff: Span[];
  corrections: { at: number; list: Correction[] }[];
  violatedPeriods: number;
}

const ORDER = { airtime: 0, 'prb-down': 1, 'prb-up': 2, aggregate: 3 } as const;
const LONGEST = 1800;
const SHORTEST = 150;
/** Measures kept at most, over all slices and periods. */
const BUDGET = 400_000;

export class Timeline {
  #periods: Kept[] = [];

  get length(): number {
    return this.#periods.length;
  }

  get lastTime(): number | null {
    return this.#periods.at(-1)?.time ?? null;
  }

  /** Adds a period, also a late one; false where it is there already. */
  add(period: Period): boolean {
    let at = this.#periods.length;
    while (at > 0 && (this.#periods[at - 1] as Kept).time > period.time) at--;
    // Sequence numbers start again with the controller: the same one counts as the same period only close in time,
    // as the history gives a period's end and the stream the time it was told.
    for (const near of this.#periods.slice(Math.max(0, at - 3), at + 3)) {
      if (near.sequence === period.sequence && Math.abs(near.time - period.time) < 10_000) return false;
    }
    this.#periods.splice(at, 0, keep(period));
    const per = Math.max(1, period.measures.length);
    const room = Math.min(LONGEST, Math.max(SHORTEST, Math.floor(BUDGET / per)));
    if (this.#periods.length > room) this.#periods.splice(0, this.#periods.length - room);
    return true;
  }

  clear(): void {
    this.#periods = [];
  }

  /**
   * The places (see `placeOf`) a slice was measured in during the last period it appears in: airtime, then cells, then the aggregate.
   * Without the uplink of cells of which nothing is promised or used.
   */
  domainsOf(slice: string): string[] {
    for (let i = this.#periods.length - 1; i >= Math.max(0, this.#periods.length - 30); i--) {
      const those = [...(this.#periods[i] as Kept).measures.values()].filter((m) => m.slice === slice);
      if (those.length > 0)
        return those
          .filter((m) => m.technology !== 'prb-up' || (m.owed ?? 0) > 0 || (m.measured ?? 0) > 0)
          .sort((a, b) => ORDER[a.technology] - ORDER[b.technology] || (a.domain < b.domain ? -1 : 1))
          .map(placeOf);
    }
    return [];
  }

  /** The measures of the last period, by slice. */
  latest(): Map<string, Measure[]> {
    const by = new Map<string, Measure[]>();
    for (const m of this.#periods.at(-1)?.measures.values() ?? []) {
      const those = by.get(m.slice);
      if (those) those.push(m);
      else by.set(m.slice, [m]);
    }
    return by;
  }

  /** When the present run of one state of a slice in a domain began, as far as it is remembered. */
  since(slice: string, domain: string): number | null {
    const key = keyOf(slice, domain);
    const state = this.#periods.at(-1)?.measures.get(key)?.state;
    if (!state) return null;
    let from: number | null = null;
    for (let i = this.#periods.length - 1; i >= 0; i--) {
      const p = this.#periods[i] as Kept;
      const m = p.measures.get(key);
      if (!m) continue;
      if (m.state !== state) return from;
      from = p.time;
    }
    return null;
  }

  /**
   * The columns of one slice in one place over the last `seconds`. `nodes`: whose corrections belong to a domain of Wi-Fi;
   * null where that is not known, and all of the slice's count. To the aggregate all of the slice's belong.
   */
  columns(slice: string, domain: string, seconds: number, nodes: Set<string> | null): Columns {
    const out: Columns = {
      x: [],
      owed: [],
      measured: [],
      violated: [],
      schedulerOff: [],
      corrections: [],
      violatedPeriods: 0,
    };
    const end = this.lastTime;
    if (end === null) return out;
    const key = keyOf(slice, domain);
    const shown = this.#periods.slice(this.#indexAt(end - seconds * 1000));
    const step = typicalStep(this.#periods.slice(-60));
    let before: number | null = null;
    for (const p of shown) {
      const x = p.time / 1000;
      if (before !== null && x - before > 3 * step) {
        out.x.push((x + before) / 2);
        out.owed.push(null);
        out.measured.push(null);
      }
      const whole = before !== null && x - before <= 3 * step ? before : x - step;
      const m = p.measures.get(key);
      out.x.push(x);
      out.owed.push(m?.owed ?? null);
      out.measured.push(m?.measured ?? null);
      if (m?.state === 'violated') {
        out.violatedPeriods++;
        extend(out.violated, whole, x);
      }
      if (!p.schedulerEnabled) extend(out.schedulerOff, whole, x);
      const corrections = p.corrections.get(slice)?.filter((c) => belongs(c, domain, nodes)) ?? [];
      if (corrections.length > 0) out.corrections.push({ at: x, list: corrections });
      before = x;
    }
    return out;
  }

  #indexAt(time: number): number {
    let low = 0;
    let high = this.#periods.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#periods[middle] as Kept).time < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function keep(period: Period): Kept {
  const corrections = new Map<string, Correction[]>();
  for (const c of period.corrections) {
    const those = corrections.get(c.slice);
    if (those) those.push(c);
    else corrections.set(c.slice, [c]);
  }
  return {
    sequence: period.sequence,
    time: period.time,
    schedulerEnabled: period.schedulerEnabled,
    measures: new Map(period.measures.map((m) => [keyOf(m.slice, placeOf(m)), m])),
    corrections,
  };
}

function belongs(c: Correction, place: string, nodes: Set<string> | null): boolean {
  if (place.startsWith('aggregate ')) return true;
  if (c.cell !== null) return place === placeOf({ technology: c.cell.technology, domain: `${c.node}/${c.cell.name}` });
  return !place.startsWith('prb-') && (nodes === null || nodes.has(c.node));
}

function keyOf(slice: string, domain: string): string {
  return `${slice}\n${domain}`;
}

/** The median distance of neighbouring periods, in seconds. */
function typicalStep(periods: Kept[]): number {
  const steps: number[] = [];
  for (let i = 1; i < periods.length; i++) {
    steps.push(((periods[i] as Kept).time - (periods[i - 1] as Kept).time) / 1000);
  }
  steps.sort((a, b) => a - b);
  return steps[steps.length >> 1] ?? 2;
}

function extend(spans: Span[], from: number, to: number): void {
  const last = spans.at(-1);
  if (last && from <= last.to) last.to = to;
  else spans.push({ from, to });
}
