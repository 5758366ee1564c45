/**
 * RESTCONF (RFC 8040) with JSON (RFC 7951): requests, and the server's errors as values.
 *
 * Owns the Authorization header and the shape of errors. Knows nothing of our modules.
 */

export interface Credentials {
  user: string;
  password: string;
}

/** One entry of `ietf-restconf:errors`, RFC 8040 section 7.1. */
export interface RpcError {
  type: string;
  tag: string;
  appTag: string | null;
  path: string | null;
  message: string;
}

export interface Reply {
  status: number;
  /** The parsed body, or null where there is none. */
  data: unknown;
  etag: string | null;
}

export interface RequestOptions {
  body?: unknown;
  ifMatch?: string | null;
  signal?: AbortSignal;
  /** Milliseconds after which the request is given up. */
  timeout?: number;
}

/** A request that did not succeed. `status` 0: no answer came at all. */
export class RestconfError extends Error {
  override readonly name = 'RestconfError';

  constructor(
    readonly status: number,
    readonly errors: RpcError[],
  ) {
    super(errors.map((e) => e.message).join('; '));
  }

  get unauthorised(): boolean {
    return this.status === 401;
  }
}

const JSON_TYPE = 'application/yang-data+json';
const READ_TIMEOUT = 20_000;
/** An edit of slices is a transaction over all nodes concerned and may take a while. */
const WRITE_TIMEOUT = 120_000;

/** The value of an Authorization header, RFC 7617 with UTF-8. */
export function basic({ user, password }: Credentials): string {
  let octets = '';
  for (const byte of new TextEncoder().encode(`${user}:${password}`)) octets += String.fromCharCode(byte);
  return `Basic ${btoa(octets)}`;
}

/** `list=key1,key2`, RFC 8040 section 3.5.3. */
export function entry(list: string, ...keys: string[]): string {
  return `${list}=${keys.map(encodeURIComponent).join(',')}`;
}

export class Restconf {
  readonly #authorization: string;

  constructor(
    credentials: Credentials,
    private readonly root = '/restconf',
  ) {
    this.#authorization = basic(credentials);
  }

  get(path: string, options: RequestOptions = {}): Promise<Reply> {
    return this.#send('GET', path, options);
  }

  post(path: string, body: unknown, options: RequestOptions = {}): Promise<Reply> {
    return this.#send('POST', path, { ...options, body });
  }

  put(path: string, body: unknown, options: RequestOptions = {}): Promise<Reply> {
    return this.#send('PUT', path, { ...options, body });
  }

  patch(path: string, body: unknown, options: RequestOptions = {}): Promise<Reply> {
    return this.#send('PATCH', path, { ...options, body });
  }

  delete(path: string, options: RequestOptions = {}): Promise<Reply> {
    return this.#send('DELETE', path, options);
  }

  /** Opens an event stream (RFC 8040 section 6.3) at a path of this origin. */
  async stream(path: string, signal: AbortSignal): Promise<Response> {
    const response = await this.#fetch(path, { method: 'GET', headers: { Accept: 'text/event-stream' }, signal });
    if (!response.ok) throw await failure(response);
    return response;
  }

  async #send(method: string, path: string, options: RequestOptions): Promise<Reply> {
    const headers: Record<string, string> = { Accept: JSON_TYPE };
    if (options.body !== undefined) headers['Content-Type'] = JSON_TYPE;
    if (options.ifMatch) headers['If-Match'] = options.ifMatch;
    const limit = options.timeout ?? (method === 'GET' ? READ_TIMEOUT : WRITE_TIMEOUT);
    const signals = [AbortSignal.timeout(limit), ...(options.signal ? [options.signal] : [])];
    const response = await this.#fetch(`${this.root}/data/${path}`, {
      method,
      headers,
      signal: AbortSignal.any(signals),
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    });
    if (!response.ok) throw await failure(response);
    return { status: response.status, data: await payload(response), etag: response.headers.get('ETag') };
  }

  async #fetch(url: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set('Authorization', this.#authorization);
    try {
      // With credentials omitted the browser neither adds its own nor asks for any on a 401.
      return await fetch(url, { ...init, headers, credentials: 'omit', cache: 'no-store' });
    } catch (cause) {
      throw unreachable(cause);
    }
  }
}

async function payload(response: Response): Promise<unknown> {
  let text: string;
  try {
    text = await response.text();
  } catch (cause) {
    throw unreachable(cause);
  }
  if (text === '') return null;
  try {
    return JSON.parse(text);
  } catch {
    throw new RestconfError(response.status, [own('the controller answered with something that is not JSON')]);
  }
}

async function failure(response: Response): Promise<RestconfError> {
  let body: unknown = null;
  try {
    body = JSON.parse(await response.text());
  } catch {
    // Not from RESTCONF: a proxy, or a broken connection. The status says enough.
  }
  const errors = readErrors(body);
  return new RestconfError(response.status, errors.length > 0 ? errors : [own(describe(response))]);
}

function describe(response: Response): string {
  switch (response.status) {
    case 401:
      return 'user name or password is wrong';
    case 403:
      return 'access control does not permit this';
    case 412:
      return 'somebody else has changed it in the meantime';
    default:
      return `the controller answered ${response.status} ${response.statusText}`.trim();
  }
}

function unreachable(cause: unknown): RestconfError {
  const late = cause instanceof DOMException && cause.name === 'TimeoutError';
  return new RestconfError(0, [
    own(late ? 'the controller did not answer in time' : 'the controller cannot be reached'),
  ]);
}

function own(message: string): RpcError {
  return { type: 'application', tag: 'operation-failed', appTag: null, path: null, message };
}

/** The errors of an `ietf-restconf:errors` document; none where it is something else. */
export function readErrors(body: unknown): RpcError[] {
  const container = member(body, 'ietf-restconf:errors');
  const entries = member(container, 'error');
  if (!Array.isArray(entries)) return [];
  return entries.map((e: unknown) => {
    const tag = word(member(e, 'error-tag')) ?? 'operation-failed';
    return {
      type: word(member(e, 'error-type')) ?? 'application',
      tag,
      appTag: word(member(e, 'error-app-tag')),
      path: word(member(e, 'error-path')),
      message: word(member(e, 'error-message')) ?? tag,
    };
  });
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function word(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
