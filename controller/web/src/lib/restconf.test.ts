import { afterEach, expect, test, vi } from 'vitest';
import { basic, entry, readErrors, Restconf, RestconfError } from './restconf';

afterEach(() => vi.unstubAllGlobals());

function answer(status: number, body: string, headers: Record<string, string> = {}) {
  const fetched = vi.fn((_url: string, _init: RequestInit) =>
    Promise.resolve(new Response(body === '' ? null : body, { status, headers })),
  );
  vi.stubGlobal('fetch', fetched);
  return fetched;
}

const client = new Restconf({ user: 'operator', password: 'pässword' });

test('credentials outside ASCII go as UTF-8', () => {
  expect(basic({ user: 'operator', password: 'pässword' })).toBe('Basic b3BlcmF0b3I6cMOkc3N3b3Jk');
});

test('list keys are percent-encoded, commas included', () => {
  expect(entry('slice', 'a,b/ü')).toBe('slice=a%2Cb%2F%C3%BC');
  expect(entry('correction', 'node-1', 'wlan0')).toBe('correction=node-1,wlan0');
});

test('a request carries the header itself and keeps the browser out of it', async () => {
  const fetched = answer(200, '{"a:b":{}}', { ETag: '"7"' });
  const reply = await client.patch('a:b', { 'a:b': {} }, { ifMatch: '"6"' });
  expect(reply).toEqual({ status: 200, data: { 'a:b': {} }, etag: '"7"' });
  const [url, init] = fetched.mock.calls[0] ?? [];
  const headers = new Headers(init?.headers);
  expect(url).toBe('/restconf/data/a:b');
  expect(init).toMatchObject({ method: 'PATCH', credentials: 'omit' });
  expect(headers.get('Authorization')).toMatch(/^Basic /);
  expect(headers.get('Content-Type')).toBe('application/yang-data+json');
  expect(headers.get('If-Match')).toBe('"6"');
});

test('the errors of the server come through with tag, path and message', async () => {
  answer(
    400,
    JSON.stringify({
      'ietf-restconf:errors': {
        error: [
          {
            'error-type': 'application',
            'error-tag': 'invalid-value',
            'error-path': '/x:y',
            'error-message': 'too long',
          },
          { 'error-type': 'application', 'error-tag': 'operation-failed', 'error-app-tag': 'ratio-sum' },
        ],
      },
    }),
  );
  const error = await client.get('x:y').catch((e: unknown) => e);
  expect(error).toBeInstanceOf(RestconfError);
  expect((error as RestconfError).status).toBe(400);
  expect((error as RestconfError).errors).toEqual([
    { type: 'application', tag: 'invalid-value', appTag: null, path: '/x:y', message: 'too long' },
    { type: 'application', tag: 'operation-failed', appTag: 'ratio-sum', path: null, message: 'operation-failed' },
  ]);
});

test('an answer that is no errors document still says what happened', async () => {
  answer(401, '<html>no</html>');
  const error = (await client.get('x:y').catch((e: unknown) => e)) as RestconfError;
  expect(error.unauthorised).toBe(true);
  expect(error.message).toBe('user name or password is wrong');
  expect(readErrors('nonsense')).toEqual([]);
});

test('no answer at all is an error of its own', async () => {
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('Failed to fetch')));
  const error = (await client.get('x:y').catch((e: unknown) => e)) as RestconfError;
  expect(error.status).toBe(0);
  expect(error.message).toBe('the controller cannot be reached');
});
