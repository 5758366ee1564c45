/** The event log: one line for each thing an operator would want to have seen. */

import { duration, percent } from './format';
import type { Correction, Measure, Notice, Period } from './model';

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
  /** Of a run of corrections: how many, and when the first was. */
  run: { corrections: number; from: number } | null;
}

/** The same line, heard from the history and from the stream. */
const SAME_LINE = 2_500;
/** Corrections this close together are one effort of the scheduler, and one line. */
const SAME_RUN = 12_000;

let nextId = 1;

function line(time: number, kind: EventKind, tone: Tone, title: string, detail: string, slices: string[] = [], node: string | null = null): LogEntry {
  return { id: nextId++, time, kind, tone, title, detail, slices, node, run: null };
}

/** What a notification says; null for those that are no event by themselves. */
export function logNotice(notice: Notice): LogEntry | null {
  switch (notice.kind) {
    case 'violated': {
      const { slice, domain, owed, measured } = notice.measure;
      return line(notice.time, 'violated', 'bad', `${slice} violated`, `${domain}: owed ${percent(owed)}, got ${percent(measured)}`, [slice]);
    }
    case 'cleared': {
      const { slice, domain, measured } = notice.measure;
      const after = notice.violatedFor === null ? '' : ` after ${duration(notice.violatedFor * 1000)}`;
      return line(notice.time, 'cleared', 'good', `${slice} met again${after}`, `${domain}: now ${percent(measured)}`, [slice]);
    }
    case 'infeasible':
      return line(
        notice.time,
        'infeasible',
        'warn',
        `Not enough airtime in ${notice.domain}`,
        `owed ${percent(notice.owed)} in all, ${percent(notice.available)} available`,
      );
    case 'node': {
      const tone: Tone = notice.state === 'connected' ? 'good' : notice.state === 'disabled' || notice.state === 'connecting' ? 'info' : 'bad';
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
  const shown = corrections.slice(0, 2).map(describe);
  if (corrections.length > 2) shown.splice(1, 1, `and ${corrections.length - 1} more`);
  const run = { corrections: corrections.length, from: period.time };
  return { ...line(period.time, 'correction', 'info', titleOf(slices, run.corrections), shown.join('\n'), slices), run };
}

function titleOf(slices: string[], corrections: number): string {
  return corrections === 1 ? `Correction for ${slices[0]}` : `${corrections} corrections for ${some(slices)}`;
}

/**
 * A log, newest first, with more lines in it: none twice, and corrections that follow each other without another event
 * between them drawn together.
 */
export function addLines(log: LogEntry[], lines: LogEntry[], limit: number): LogEntry[] {
  const fresh = lines.filter((l) => !log.some((k) => k.title === l.title && Math.abs(k.time - l.time) < SAME_LINE));
  if (fresh.length === 0) return log;
  const sorted = [...fresh, ...log].sort((a, b) => b.time - a.time || b.id - a.id);
  const out: LogEntry[] = [];
  for (const older of sorted) {
    const newer = out.at(-1);
    if (newer?.run && older.run && newer.run.from - older.time < SAME_RUN) out.splice(-1, 1, joined(newer, older));
    else out.push(older);
  }
  return out.slice(0, limit);
}

function joined(newer: LogEntry, older: LogEntry): LogEntry {
  const slices = [...new Set([...newer.slices, ...older.slices])].sort();
  const run = {
    corrections: (newer.run?.corrections ?? 0) + (older.run?.corrections ?? 0),
    from: older.run?.from ?? older.time,
  };
  return { ...newer, id: older.id, slices, run, title: titleOf(slices, run.corrections) };
}

function describe(c: Correction): string {
  const parts = [];
  if (c.minRatio !== null) parts.push(`at least ${percent(c.minRatio)}`);
  if (c.maxRatio !== null) parts.push(`at most ${percent(c.maxRatio)}`);
  return `${c.node} ${c.vif}: ${parts.join(', ')}`;
}

function some(names: string[]): string {
  if (names.length <= 3) return names.join(', ');
  return `${names.slice(0, 2).join(', ')} and ${names.length - 2} more`;
}

export function logScheduler(time: number, enabled: boolean): LogEntry {
  return line(time, 'scheduler', enabled ? 'good' : 'warn', `Global scheduler ${enabled ? 'on' : 'off'}`, enabled ? 'what falls short is corrected' : 'measured and reported, not corrected');
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
  for (const m of [...before.values()].flat()) states.set(`${m.slice}\n${m.domain}`, { violated: m.state === 'violated', from: null });
  let enabled: boolean | null = null;
  for (const p of periods) {
    if (enabled !== null && enabled !== p.schedulerEnabled) lines.push(logScheduler(p.time, p.schedulerEnabled));
    enabled = p.schedulerEnabled;
    for (const m of p.measures) {
      const key = `${m.slice}\n${m.domain}`;
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
