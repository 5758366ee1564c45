import { expect, test } from 'vitest';
import { readOneSlice, type Json, type Slice } from './model';
import { cellsDraftOf, checkCells, ranBody, slaBody } from './cells-form';
import { draftOf, fieldOf, requests } from './slice-form';

const RAN = {
  mcc: '001',
  mnc: '01',
  sst: 1,
  sd: '0a0b0c',
  dnn: ['internet'],
  core: ['mme', 'amf'],
  'max-ues': 50,
  access: { 'imsi-range': [{ first: '001010000000001', last: '001010000000999', roaming: true }] },
};

function stored(more: Json = {}): Slice {
  const slice = readOneSlice({
    'tranche-slice:slice': [
      {
        id: 'a',
        tenant: 't',
        where: { node: ['n1'], cell: ['c1'] },
        sla: { prb: { down: { 'min-ratio': '20.0', 'dedicated-ratio': '5.0' } }, aggregate: { 'min-ratio': '40.0' } },
        ran: RAN,
        ...more,
      },
    ],
  });
  if (!slice) throw new Error('fixture');
  return slice;
}

const only = (body: unknown) => (body as { 'tranche-slice:slice': [Json] })['tranche-slice:slice'][0];

test('a slice on cells goes back as it came', () => {
  const slice = stored();
  const [put] = requests(draftOf(slice), slice);
  expect(put?.method).toBe('PUT');
  const body = only(put?.body);
  expect(body.ran).toEqual({ ...RAN, rat: 'any', 'admin-state': 'unlocked', access: { 'default-action': 'deny', ...RAN.access } });
  expect(body.sla).toMatchObject({
    prb: {
      down: { 'min-ratio': '20.0', 'max-ratio': '100.0', 'dedicated-ratio': '5.0' },
      up: { 'min-ratio': '0.0', 'max-ratio': '100.0' },
    },
    aggregate: { 'min-ratio': '40.0' },
  });
  expect(body.where).toEqual({ node: ['n1'], cell: ['c1'] });
  expect(body.wifi).toBeUndefined();
});

test('leaves of cells are changed, and taken away', () => {
  const slice = stored();
  const draft = {
    ...draftOf(slice),
    sd: '',
    maxUes: '',
    mnc: '02',
    cores: 'amf',
    prbDownMin: '30',
    aggregate: '0',
    imsis: '001020000000001\n001020000000005-001020000000009',
  };
  const body = only(requests(draft, slice)[0]?.body);
  expect(body.ran).toEqual({
    mcc: '001',
    mnc: '02',
    sst: 1,
    dnn: ['internet'],
    core: ['amf'],
    rat: 'any',
    'admin-state': 'unlocked',
    access: {
      'default-action': 'deny',
      'imsi-range': [
        { first: '001020000000001', last: '001020000000001' },
        { first: '001020000000005', last: '001020000000009' },
      ],
    },
  });
  expect(body.sla).toMatchObject({ prb: { down: { 'min-ratio': '30.0' } }, aggregate: { 'min-ratio': '0.0' } });
});

test('a slice that keeps a secret gets its cells by requests of their own', () => {
  const slice = stored({ wifi: { ssid: 's', security: { mode: 'wpa3-personal' } } });
  const said = (draft: object) =>
    requests({ ...draftOf(slice), ...draft }, slice).map((r) => `${r.method} ${r.path.slice(28)}`);
  expect(said({ prbUpMin: '10' })).toEqual(['PATCH ']);
  expect(said({ mnc: '02' })).toEqual(['PATCH ', 'PUT /ran']);
  expect(said({ onCells: false })).toEqual(['PATCH ', 'DELETE /ran']);
});

test('a new slice may be on cells only, and one on Wi-Fi has nothing of cells', () => {
  const draft = { ...draftOf(null), id: 'a', tenant: 't', nodes: ['n1'], onCells: true, mcc: '001', mnc: '01', cores: 'mme' };
  const body = only(requests(draft, null)[0]?.body);
  expect(body.wifi).toBeUndefined();
  expect(body.ran).toMatchObject({ mcc: '001', mnc: '01', core: ['mme'] });
  const wifi = only(requests({ ...draft, onCells: false, ssid: 's' }, null)[0]?.body);
  expect(wifi.ran).toBeUndefined();
  expect(wifi.sla).toEqual({ airtime: { 'min-ratio': '0.0', 'max-ratio': '100.0' }, priority: 0 });
});

test('what can not be sent is said at its field', () => {
  const draft = { ...cellsDraftOf({ ran: RAN, prb: { down: {}, up: {} }, aggregate: 0 }), sst: 'x', prbUpMax: 'all', imsis: '12-x' };
  expect(checkCells(draft)).toEqual({
    prbUpMax: 'a percentage with at most two decimals',
    sst: 'a whole number',
    imsis: '12-x is neither an IMSI nor FIRST-LAST',
  });
  expect(checkCells({ ...draft, onCells: false, prbUpMax: '100' })).toEqual({});
  expect(ranBody({ ...draft, onCells: false }, { ran: null, prb: { down: {}, up: {} }, aggregate: 0 })).toBeNull();
  expect(slaBody({ ...draft, onCells: false }, { ran: null, prb: { down: {}, up: {} }, aggregate: 0 })).toEqual({});
  const at = (path: string) =>
    fieldOf({ type: 'application', tag: 'invalid-value', appTag: null, path: `/tranche-slice:slices/slice[id='a']/${path}`, message: 'no' }, 'a');
  expect(at("ran/access/imsi-range[first='1']")).toBe('imsis');
  expect(at('sla/prb/down/min-ratio')).toBe('prbDownMin');
  expect(at('ran/mnc')).toBe('mnc');
});
