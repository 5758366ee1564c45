import { expect, test } from 'vitest';
import { readInventory, readNotice, readSla, readSlices, readStreams } from './model';

test('absent leaves get the defaults of their module', () => {
  const [slice] = readSlices({
    'tranche-slice:slices': { slice: [{ id: 'a', tenant: 't', where: { node: ['n'] }, wifi: { ssid: 's' } }] },
  });
  expect(slice).toMatchObject({
    enabled: true,
    minRatio: 0,
    maxRatio: 100,
    priority: 0,
    hidden: false,
    isolation: true,
    state: 'pending',
  });
  expect(slice?.security).toEqual({ mode: 'wpa3-personal', passphrase: null, radius: null });
  const { nodes } = readInventory({
    'tranche-inventory:inventory': { node: [{ name: 'n', enabled: false, address: '::1' }] },
  });
  expect(nodes[0]).toMatchObject({ port: 830, state: 'disabled', inSync: null, radios: [] });
  expect(readSla({ 'tranche-sla:sla': {} }).scheduler).toEqual({ enabled: true, interval: 2000 });
});

test('decimal64 and 64-bit numbers are read from strings', () => {
  const notice = readNotice(
    JSON.stringify({
      'ietf-restconf:notification': {
        eventTime: '2026-11-21T04:00:00.250Z',
        'tranche-sla:sla-period': {
          sequence: '12',
          'scheduler-enabled': false,
          measure: [
            { slice: 'a', domain: 'n/phy0', owed: '30.00', measured: '49.80', backlogged: true, state: 'violated' },
          ],
          correction: [{ node: 'n', vif: 'w0', slice: 'a', 'min-ratio': '31.5' }],
          'prb-correction': [
            { node: 'n', cell: 'c', 'slice-profile': 'a-nr', direction: 'down', slice: 'a', 'min-ratio': '42.0' },
          ],
        },
      },
    }),
  );
  expect(notice).toEqual({
    kind: 'period',
    period: {
      sequence: 12,
      time: Date.UTC(2026, 10, 21, 4, 0, 0, 250),
      schedulerEnabled: false,
      measures: [
        { slice: 'a', technology: 'airtime', domain: 'n/phy0', owed: 30, measured: 49.8, backlogged: true, state: 'violated' },
      ],
      corrections: [
        { node: 'n', vif: 'w0', cell: null, slice: 'a', minRatio: 31.5, maxRatio: null },
        { node: 'n', vif: 'a-nr', cell: { name: 'c', technology: 'prb-down' }, slice: 'a', minRatio: 42, maxRatio: null },
      ],
    },
  });
});

test('what is no notification is left alone', () => {
  expect(readNotice('not json')).toBeNull();
  expect(readNotice('{"ietf-restconf:notification":{"eventTime":"2026-11-21T04:00:00Z"}}')).toBeNull();
  expect(readNotice('{"ietf-restconf:notification":{"eventTime":"2026-11-21T04:00:00Z","x:y":{}}}')).toMatchObject({
    kind: 'other',
    name: 'x:y',
  });
});

test('stream locations are taken at this origin, JSON only', () => {
  const body = {
    'ietf-restconf-monitoring:streams': {
      stream: [
        {
          name: 'sla',
          access: [
            { encoding: 'xml', location: '/x' },
            { encoding: 'json', location: 'https://inner:9/streams/sla?e=json' },
          ],
        },
        { name: 'xml-only', access: [{ encoding: 'xml', location: '/x' }] },
      ],
    },
  };
  expect(readStreams(body, 'https://outer')).toEqual([{ name: 'sla', location: '/streams/sla?e=json' }]);
});
