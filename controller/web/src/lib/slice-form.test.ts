import { expect, test } from 'vitest';
import { readOneSlice, type Slice } from './model';
import type { RpcError } from './restconf';
import { check, draftOf, fieldOf, refusal, requests } from './slice-form';

function stored(security: object = { mode: 'wpa3-personal' }, more: object = {}): Slice {
  const slice = readOneSlice({
    'tranche-slice:slice': [
      {
        id: 'a',
        tenant: 't',
        where: { node: ['n1', 'n2'] },
        wifi: { ssid: 's', 'max-stations': 20, security, ...more },
        sla: { airtime: { 'min-ratio': '30.0' } },
      },
    ],
  });
  if (!slice) throw new Error('fixture');
  return slice;
}

test('a new slice is posted, so that it never replaces another', () => {
  const draft = {
    ...draftOf(null),
    id: 'a',
    tenant: 't',
    ssid: 's',
    nodes: ['n1'],
    minRatio: '30',
    passphrase: 'secret phrase',
  };
  expect(check(draft)).toEqual({});
  expect(requests(draft, null)).toEqual([
    {
      method: 'POST',
      path: 'tranche-slice:slices',
      body: {
        'tranche-slice:slice': [
          {
            id: 'a',
            tenant: 't',
            enabled: true,
            sla: { airtime: { 'min-ratio': '30.0', 'max-ratio': '100.0' }, priority: 0 },
            where: { node: ['n1'] },
            wifi: {
              ssid: 's',
              hidden: false,
              'station-isolation': true,
              security: { mode: 'wpa3-personal', passphrase: 'secret phrase' },
            },
          },
        ],
      },
    },
  ]);
});

test('a slice without unreadable secrets is replaced in one request', () => {
  const open = stored({ mode: 'open' });
  const all = requests({ ...draftOf(open), nodes: ['n1'], maxStations: '' }, open);
  expect(all).toMatchObject([{ method: 'PUT', path: 'tranche-slice:slices/slice=a' }]);
});

test('a passphrase that cannot be read survives an edit', () => {
  const slice = stored();
  const draft = draftOf(slice);
  expect(requests({ ...draft, minRatio: '40' }, slice).map((r) => r.method)).toEqual(['PATCH']);
  expect(requests({ ...draft, nodes: ['n2'] }, slice)).toEqual([
    { method: 'PUT', path: 'tranche-slice:slices/slice=a/where', body: { 'tranche-slice:where': { node: ['n2'] } } },
  ]);
  expect(
    requests({ ...draft, minRatio: '40', nodes: ['n2'], maxStations: '' }, slice).map(
      (r) => `${r.method} ${r.path.slice(28)}`,
    ),
  ).toEqual(['PATCH ', 'PUT /where', 'DELETE /wifi/max-stations']);
  // A new passphrase makes it complete again; so does a mode without one.
  expect(requests({ ...draft, passphrase: 'another one' }, slice)).toMatchObject([{ method: 'PUT' }]);
  expect(requests({ ...draft, mode: 'open' }, slice)).toMatchObject([{ method: 'PUT' }]);
});

test('what the form has no fields for survives an edit', () => {
  const attachment = { bridge: 'br0', vlan: 7 };
  const open = stored({ mode: 'open' }, { attachment, roaming: { 'neighbour-report': true } });
  const [put] = requests({ ...draftOf(open), minRatio: '40' }, open);
  expect(put).toMatchObject({
    method: 'PUT',
    body: { 'tranche-slice:slice': [{ wifi: { attachment, roaming: { 'neighbour-report': true } } }] },
  });
  // A mobility key that can't be read would be lost by a PUT.
  const fast = stored({ mode: 'wpa3-personal' }, { attachment, roaming: { 'mobility-domain': 'a1b2' } });
  const draft = { ...draftOf(fast), passphrase: 'another one' };
  expect(requests(draft, fast).map((r) => r.method)).toEqual(['PATCH']);
});

const error = (path: string | null, more: Partial<RpcError> = {}): RpcError => ({
  type: 'application',
  tag: 'invalid-value',
  appTag: null,
  path,
  message: 'no',
  ...more,
});

test('errors find their field', () => {
  expect(fieldOf(error("/tranche-slice:slices/slice[id='a']/wifi/ssid"), 'a')).toBe('ssid');
  expect(
    fieldOf(
      error("/tranche-slice:slices/tranche-slice:slice[tranche-slice:id='a']/tranche-slice:where/node[.='n[1]']"),
      'a',
    ),
  ).toBe('nodes');
  expect(
    fieldOf(error("/tranche-slice:slices/slice[id='a']/wifi/security", { appTag: 'missing-passphrase' }), 'a'),
  ).toBe('passphrase');
  expect(fieldOf(error("/tranche-slice:slices/slice[id='a']", { tag: 'data-exists' }), 'a')).toBe('id');
  expect(fieldOf(error("/tranche-slice:slices/slice[id='b']/wifi/ssid"), 'a')).toBeNull();
  expect(fieldOf(error('/tranche-wifi:wifi/radio'), 'a')).toBeNull();
});

test('what is missing is found by its name, and a new entry without its list', () => {
  const absent = (path: string, name: string) =>
    error(path, { tag: 'data-missing', appTag: 'missing-instance', message: `Mandatory node "${name}" instance does not exist.` });
  expect(fieldOf(absent("/tranche-slice:slices/slice[id='a']", 'tenant'), 'a')).toBe('tenant');
  expect(fieldOf(absent("/tranche-slice:slices/slice[id='a']/wifi/security/radius", 'secret'), 'a')).toBe('radiusSecret');
  expect(fieldOf(absent("/tranche-slice:slices/slice[id='a']/wifi", 'elsewhere'), 'a')).toBeNull();
  expect(fieldOf(error('/tranche-slice:slice/id'), 'a b')).toBe('id');
});

test('what finds no field is shown with its path', () => {
  expect(
    refusal([error("/tranche-slice:slices/slice[id='a']/tenant"), error(null, { message: 'node-2 refused' })], 'a'),
  ).toEqual({
    fields: { tenant: 'no' },
    general: [{ message: 'node-2 refused', path: null }],
  });
});

test('a backhaul is asked for with a hub and a prefix, and one that is there is never replaced', () => {
  const slice = stored();
  const draft = { ...draftOf(slice), hub: 'n9', pool: '10.77.0.0/24' };
  expect(check({ ...draft, pool: '' })).toMatchObject({ pool: expect.any(String) });
  const [put] = requests({ ...draft, mode: 'open' }, slice);
  expect(put).toMatchObject({
    method: 'PUT',
    body: { 'tranche-slice:slice': [{ backhaul: { pool: '10.77.0.0/24', hub: [{ name: 'n9', node: 'n9' }] } }] },
  });
  const more = { 'tranche-slice:slice': [{ id: 'a', wifi: {}, backhaul: { pool: 'fd00::/64', hub: [{ name: 'h', node: 'n9' }] } }] };
  const has = readOneSlice(more);
  const [patch] = requests({ ...draftOf(has), mode: 'open', description: 'x' }, has);
  expect(patch?.method).toBe('PATCH');
  expect(JSON.stringify(patch)).not.toContain('backhaul');
});
