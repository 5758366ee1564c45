import { expect, test } from 'vitest';
import { readSlices } from './model';
import { draftOf, requests } from './slice-form';
import { ailing, ruleState } from './steering';

function slices(steering: unknown, state: unknown) {
  const slice = { id: 'a', tenant: 't', wifi: { ssid: 'a', security: { mode: 'open' } }, steering, state: { steering: state } };
  return readSlices({ 'tranche-slice:slices': { slice: [slice] } });
}

const STATE = {
  node: [
    {
      name: 'n1',
      'read-at': '2026-11-27T01:00:00Z',
      port: [
        { name: 'ran0', 'oper-state': 'up' },
        { name: 'app0', 'oper-state': 'missing' },
      ],
      chain: [
        {
          name: 'local',
          application: [
            { name: 'cache', 'is-up': false, packets: '4', bytes: '400' },
            { name: 'ids', 'is-up': false, 'down-by': 'health-check', reason: 'no answer within 500 ms' },
          ],
        },
      ],
      rule: [
        { name: 'x', 'is-there': true, packets: '12', bytes: '1200' },
        { name: 'y', 'is-there': true, packets: '0', bytes: '0', 'shadowed-by': 'a.x' },
        { name: 'z', 'is-there': false },
      ],
    },
    { name: 'n2', rule: [{ name: 'x' }] },
  ],
};

test('rules are read per node with what they counted', () => {
  const steering = slices({}, STATE)[0]?.steering;
  expect(steering?.nodes[0]?.rules[0]).toEqual({ name: 'x', there: true, packets: 12, bytes: 1200, shadowedBy: null });
  expect(steering?.nodes.flatMap((n) => n.rules).map((r) => ruleState(r).text)).toEqual([
    'in force',
    'never reached: a.x',
    'missing',
    'unknown',
  ]);
  expect(steering?.nodes.map(ailing)).toEqual([
    [
      'port app0 is missing',
      'cache of chain local gets no packets',
      'ids of chain local gets no packets: no answer within 500 ms',
    ],
    [],
  ]);
});

test('rules of an application are shown although the slice asks for none, and a slice without any has no panel', () => {
  expect(slices(undefined, STATE)[0]?.steering?.configured).toBe(false);
  expect(slices(undefined, undefined)[0]?.steering).toBeNull();
});

test('a change in the form never drops what the slice steers', () => {
  const slice = slices({ rule: [{ name: 'x', drop: [null] }] }, STATE)[0];
  if (slice === undefined) throw new Error('one slice');
  const draft = { ...draftOf(slice), ssid: 'other' };
  expect(requests(draft, slice).map((r) => r.method)).toEqual(['PATCH']);
});
