import { expect, test } from 'vitest';
import { readSlices } from './model';
import { draftOf, requests } from './slice-form';
import { ailing, resolverState, ruleState } from './steering';

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
      resolver: {
        'is-there': true,
        'oper-state': 'down',
        answered: '7',
        forwarded: '6',
        refused: '5',
        failed: '4',
        limited: '3',
        ignored: '2',
      },
    },
    { name: 'n2', rule: [{ name: 'x' }], resolver: {} },
    { name: 'n3', resolver: { 'is-there': false } },
    { name: 'n4', resolver: { 'is-there': true, 'oper-state': 'up', answered: '0' } },
    { name: 'n5' },
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
      'the resolver is down',
    ],
    [],
    ['the resolver is missing'],
    [],
    [],
  ]);
});

test('a resolver is read per node with its state and what became of queries, at the addresses of the slice', () => {
  const config = { resolver: { port: 'dns0', address: ['10.53.0.1', 'fd00::53'], client: ['10.60.0.0/16'] } };
  const steering = slices(config, STATE)[0]?.steering;
  expect(steering?.addresses).toEqual(['10.53.0.1', 'fd00::53']);
  const resolvers = steering?.nodes.map((n) => n.resolver) ?? [];
  expect(resolvers.map((r) => r && resolverState(r))).toEqual([
    { text: 'down', tone: 'bad' },
    { text: 'unknown', tone: 'idle' },
    { text: 'missing', tone: 'bad' },
    { text: 'up', tone: 'good' },
    null,
  ]);
  expect(resolvers[0]?.counts).toEqual({ answered: 7, forwarded: 6, refused: 5, failed: 4, limited: 3, ignored: 2 });
  expect(resolvers[1]?.counts.answered).toBeNull();
  expect(resolvers[3]?.counts).toMatchObject({ answered: 0, limited: null });
});

test('a slice without a resolver has no address of one', () => {
  expect(slices({}, STATE)[0]?.steering?.addresses).toEqual([]);
  expect(slices(undefined, STATE)[0]?.steering?.addresses).toEqual([]);
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
