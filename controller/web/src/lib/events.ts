/** The event log: one line for each thing an operator would want to have seen. */

import { duration, percent } from './format';
import { placeOf, type Correction, type Measure, type Notice, type Period } from './model';
import { placeName } from './view';

export type EventKind = 'violated' | 'cleared' | 'infeasible' | 'correction' | 'node' | 'scheduler' | 'link';
export type Tone = 'bad' | 'good' | 'warn' | 'info';

export interface LogEntry {
  id: number;
  time: number;
  kind: EventKind;
  tone: Tone;
  title: string;
  detail: string;
  slices: string[];
  node: string | null;
  run: Run | null;
}

/** Of corrections that follow each other: how many, when the first was, and what the last did. */
interface Run {
  corrections: number;
  from: number;
  last: string;
}

/** The same line, heard from the history and from the stream. */
const SAME_LINE = 2_500;
/** Corrections this close together are one effort of the scheduler, and one line. */
const SAME_RUN = 12_000;

let nextId = 1;

function line(
  time: number,
  kind: EventKind,
  tone: Tone,
  title: string,
  detail: string,
  slices: string[] = [],
  node: string | null = null,
): LogEntry {
  return { id: nextId++, time, kind, tone, title, detail, slices, node, run: null };
}

/** What a notification says; null for those that are no event by themselves. */
export function logNotice(notice: Notice): LogEntry | null {
  switch (notice.kind) {
    case 'violated': {
      const { slice, owed, measured } = notice.measure;
      return line(
        notice.time,
        'violated',
        'bad',
        `${slice} violated`,
        `${placeName(placeOf(notice.measure))}: owed ${percent(owed)}, got ${percent(measured)}`,
        [slice],
      );
    }
    case 'cleared': {
      const { slice, measured } = notice.measure;
      const place = placeName(placeOf(notice.measure));
      const after = notice.violatedFor === null ? '' : `, was violated for ${duration(notice.violatedFor * 1000)}`;
      return line(notice.time, 'cleared', 'good', `${slice} met again`, `${place}: now ${percent(measured)}${after}`, [
        slice,
      ]);
    }
    case 'infeasible':
      return line(
        notice.time,
        'infeasible',
        'warn',
        notice.slice === null ? `Not enough for ${placeName(notice.place)}` : `${notice.slice} is owed too much in all`,
        notice.slice === null
          ? `owed ${percent(notice.owed)} in all, ${percent(notice.available)} available`
          : `owed ${percent(notice.owed)} on the average, ${percent(notice.available)} within reach`,
        notice.slice === null ? [] : [notice.slice],
      );
    case 'node': {
      const tone: Tone =
        notice.state === 'connected'
          ? 'good'
          : notice.state === 'disabled' || notice.state === 'connecting'
            ? 'info'
            : 'bad';
      return line(notice.time, 'node', tone, `${notice.node} ${notice.state}`, notice.reason ?? '', [], notice.node);
    }
    case 'period':
    case 'other':
      return null;
  }
}

/** The corrections of one period, as one line however many they are. */
export function logCorrections(period: Period): LogEntry | null {
  const { corrections } = period;
  if (corrections.length === 0) return null;
  const slices = [...new Set(corrections.map((c) => c.slice))];
  const last = describe(corrections.at(-1) as Correction);
  const run = { corrections: corrections.length, from: period.time, last };
  return { ...line(period.time, 'correction', 'info', '', '', slices), run, ...told(slices, run) };
}

function told(slices: string[], { corrections, last }: Run): { title: string; detail: string } {
  const [only, ...more] = slices;
  if (more.length > 0) return { title: `${corrections} corrections`, detail: `${some(slices)}\nlast ${last}` };
  return {
    title: corrections === 1 ? `Correction for ${only}` : `${corrections} corrections for ${only}`,
    detail: last,
  };
}

/**
 * A log, newest first, with more lines in it: none twice, and corrections that follow each other without another event
 * between them drawn together.
 */
export function addLines(log: LogEntry[], lines: LogEntry[], limit: number): LogEntry[] {
  const fresh = lines.filter(
    (l) => l.run || !log.some((k) => k.title === l.title && Math.abs(k.time - l.time) < SAME_LINE),
  );
  if (fresh.length === 0) return log;
  const sorted = [...fresh, ...log].sort((a, b) => b.time - a.time || b.id - a.id);
  const out: LogEntry[] = [];
  for (const older of sorted) {
    const newer = out.at(-1);
    if (newer?.run && older.run && newer.run.from - older.time < SAME_RUN)
      out.splice(-1, 1, joined(newer, newer.run, older, older.run));
    else out.push(older);
  }
  return out.slice(0, limit);
}

function joined(newer: LogEntry, late: Run, older: LogEntry, early: Run): LogEntry {
  const slices = [...new Set([...newer.slices, ...older.slices])].sort();
  const run = { corrections: late.corrections + early.corrections, from: early.from, last: late.last };
  return { ...newer, id: older.id, slices, run, ...told(slices, run) };
}

function describe(c: Correction): string {
  const range =
    c.minRatio === null
      ? `at most ${percent(c.maxRatio)}`
      : c.maxRatio === null
        ? `at least ${percent(c.minRatio)}`
        : `${c.minRatio.toFixed(1)} to ${percent(c.maxRatio)}`;
  return `${c.node}${c.cell === null ? '' : `/${c.cell.name}`} ${c.vif}: ${range}`;
}

function some(names: string[]): string {
  if (names.length <= 3) return names.join(', ');
  return `${names.slice(0, 2).join(', ')} and ${names.length - 2} more`;
}

export function logScheduler(time: number, enabled: boolean): LogEntry {
  return line(
    time,
    'scheduler',
    enabled ? 'good' : 'warn',
    `Global scheduler ${enabled ? 'on' : 'off'}`,
    enabled ? 'what falls short is corrected' : 'measured and reported, not corrected',
  );
}

export function logLink(time: number, live: boolean, reason: string | null): LogEntry {
  return line(time, 'link', live ? 'good' : 'bad', live ? 'Live again' : 'Live updates lost', reason ?? '');
}

/**
 * The lines that past periods, oldest first, would have made had the page been open. `before`: the measures, by slice,
 * of the period that came before them, if any was seen.
 */
export function logHistory(periods: Period[], before: Map<string, Measure[]> = new Map()): LogEntry[] {
  const lines: LogEntry[] = [];
  const states = new Map<string, { violated: boolean; from: number | null }>();
  for (const m of [...before.values()].flat())
    states.set(`${m.slice}\n${placeOf(m)}`, { violated: m.state === 'violated', from: null });
  let enabled: boolean | null = null;
  for (const p of periods) {
    if (enabled !== null && enabled !== p.schedulerEnabled) lines.push(logScheduler(p.time, p.schedulerEnabled));
    enabled = p.schedulerEnabled;
    for (const m of p.measures) {
      const key = `${m.slice}\n${placeOf(m)}`;
      const was = states.get(key);
      const violated = m.state === 'violated';
      if (was?.violated !== violated) {
        let entry: LogEntry | null = null;
        if (violated) entry = logNotice({ kind: 'violated', time: p.time, measure: m });
        else if (was && m.state === 'met') {
          const violatedFor = was.from === null ? null : Math.round((p.time - was.from) / 1000);
          entry = logNotice({ kind: 'cleared', time: p.time, measure: m, violatedFor });
        }
        if (entry) lines.push(entry);
        states.set(key, { violated, from: p.time });
      }
    }
    const corrections = logCorrections(p);
    if (corrections) lines.push(corrections);
  }
  return lines;
}
