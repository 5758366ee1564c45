import { expect, test } from 'vitest';
import { addLines, logHistory } from './events';
import type { Period, SlaState, Technology } from './model';
import { Timeline } from './timeline';
import { slaOf } from './view';

function period(sequence: number, seconds: number, state: SlaState = 'met', more: Partial<Period> = {}): Period {
  return {
    sequence,
    time: seconds * 1000,
    schedulerEnabled: true,
    measures: [{ slice: 'a', technology: 'airtime', domain: 'n/phy0', owed: 30, measured: 29, backlogged: true, state }],
    corrections: [],
    ...more,
  };
}

test('history and stream overlap without doubling, and late periods find their place', () => {
  const timeline = new Timeline();
  expect(timeline.add(period(3, 106))).toBe(true);
  expect(timeline.add(period(1, 102))).toBe(true);
  expect(timeline.add(period(2, 104))).toBe(true);
  expect(timeline.add(period(3, 106.02))).toBe(false);
  expect(timeline.columns('a', 'n/phy0', 600, null).x).toEqual([102, 104, 106]);
  // The controller starts anew: its first period is another one, although its number was seen.
  expect(timeline.add(period(3, 160))).toBe(true);
});

test('violations become spans, gaps break the line, corrections belong to their domain', () => {
  const timeline = new Timeline();
  const fix = (node: string) => [{ node, vif: 'w', cell: null, slice: 'a', minRatio: 40, maxRatio: null }];
  timeline.add(period(1, 100));
  timeline.add(period(2, 102, 'violated', { schedulerEnabled: false }));
  timeline.add(period(3, 104, 'violated', { corrections: fix('n') }));
  timeline.add(period(4, 106, 'met', { corrections: fix('elsewhere') }));
  timeline.add(period(5, 130));
  const columns = timeline.columns('a', 'n/phy0', 600, new Set(['n']));
  expect(columns.violated).toEqual([{ from: 100, to: 104 }]);
  expect(columns.violatedPeriods).toBe(2);
  expect(columns.schedulerOff).toEqual([{ from: 100, to: 102 }]);
  expect(columns.corrections.map((c) => c.at)).toEqual([104]);
  expect(columns.x).toEqual([100, 102, 104, 106, 118, 130]);
  expect(columns.measured).toEqual([29, 29, 29, 29, null, 29]);
  expect(timeline.columns('a', 'n/phy0', 25, null).x).toEqual([106, 118, 130]);
});

test('memory is bounded and the newest stay', () => {
  const timeline = new Timeline();
  for (let i = 0; i < 2500; i++) timeline.add(period(i, 100 + 2 * i));
  expect(timeline.length).toBe(1800);
  expect(timeline.lastTime).toBe((100 + 2 * 2499) * 1000);
});

test('the log of the past tells violation, correction and relief', () => {
  const correction = [{ node: 'n', vif: 'w', cell: null, slice: 'a', minRatio: 40, maxRatio: 55.5 }];
  const lines = logHistory([
    period(1, 100),
    period(2, 102, 'violated', { schedulerEnabled: false }),
    period(3, 104, 'violated', { corrections: correction }),
    period(4, 106),
  ]);
  expect(lines.map((l) => l.title)).toEqual([
    'Global scheduler off',
    'a violated',
    'Global scheduler on',
    'Correction for a',
    'a met again',
  ]);
  expect(lines[3]?.detail).toBe('n w: 40.0 to 55.5 %');
  expect(lines[4]?.detail).toBe('n/phy0: now 29.0 %, was violated for 4 s');
});

test('a run of corrections is one line, and a line told twice is kept once', () => {
  const fix = (slice: string) => [{ node: 'n', vif: 'w', cell: null, slice, minRatio: 40, maxRatio: null }];
  const past = logHistory([
    period(1, 100, 'met', { corrections: fix('b') }),
    period(2, 102, 'met', { corrections: fix('a') }),
    period(3, 104, 'violated'),
  ]);
  let log = addLines([], past, 10);
  expect(log.map((l) => l.title)).toEqual(['a violated', '2 corrections']);
  log = addLines(log, logHistory([period(3, 104.5, 'violated')]), 10);
  expect(log).toHaveLength(2);
  log = addLines(
    log,
    logHistory(
      [period(4, 106, 'violated', { corrections: fix('a') })],
      new Map([
        ['a', [{ slice: 'a', technology: 'airtime' as const, domain: 'n/phy0', owed: 30, measured: 1, backlogged: true, state: 'violated' as const }]],
      ]),
    ),
    10,
  );
  expect(log.map((l) => l.title)).toEqual(['Correction for a', 'a violated', '2 corrections']);
});

test('cells and the aggregate are places of their own, with their own corrections', () => {
  const timeline = new Timeline();
  const measure = (technology: Technology, domain: string, measured: number) => ({
    slice: 'a',
    technology,
    domain,
    owed: technology === 'prb-up' ? 0 : 20,
    measured,
    backlogged: true,
    state: 'met' as const,
  });
  const onCell = { name: 'c', technology: 'prb-down' as const };
  timeline.add(
    period(1, 100, 'met', {
      measures: [
        measure('aggregate', 'all', 33),
        measure('prb-up', 'n/c', 0),
        measure('prb-down', 'n/c', 45),
        measure('airtime', 'n/c', 21),
      ],
      corrections: [{ node: 'n', vif: 'a-nr', cell: onCell, slice: 'a', minRatio: 40, maxRatio: null }],
    }),
  );
  expect(timeline.domainsOf('a')).toEqual(['n/c', 'prb-down n/c', 'aggregate all']);
  const shown = (place: string) => {
    const { measured, corrections } = timeline.columns('a', place, 60, null);
    return [measured, corrections.length];
  };
  expect(shown('n/c')).toEqual([[21], 0]);
  expect(shown('prb-down n/c')).toEqual([[45], 1]);
  expect(shown('aggregate all')).toEqual([[33], 1]);
});

test('a slice has one state, the worst of its promises', () => {
  const of = (...states: SlaState[]) =>
    slaOf(states.flatMap((state) => period(1, 100, state).measures));
  expect(of()).toBeNull();
  expect(of('idle', 'met')).toBe('met');
  expect(of('met', 'unknown')).toBe('unknown');
  expect(of('unknown', 'violated', 'met')).toBe('violated');
});
