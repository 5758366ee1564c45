/**
 * Server-sent events over fetch: EventSource can't send an Authorization header.
 *
 * `SseParser` is pure; `follow` keeps one stream open, with a watchdog and a growing, jittered pause between tries.
 */

export interface SseEvent {
  type: string;
  data: string;
  id: string;
}

/** Line parser of the event-stream format; text may be cut anywhere. */
export class SseParser {
  #rest = '';
  #afterCr = false;
  #first = true;
  #data: string[] = [];
  #type = '';
  #id = '';

  push(text: string): SseEvent[] {
    const events: SseEvent[] = [];
    if (this.#first && text !== '') {
      this.#first = false;
      if (text.startsWith('\uFEFF')) text = text.slice(1);
    }
    if (this.#afterCr && text !== '') {
      // The LF of a CR LF that was cut in two.
      if (text.startsWith('\n')) text = text.slice(1);
      this.#afterCr = false;
    }
    let start = 0;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c !== 10 && c !== 13) continue;
      const line = this.#rest + text.slice(start, i);
      this.#rest = '';
      if (c === 13) {
        if (i + 1 === text.length) this.#afterCr = true;
        else if (text.charCodeAt(i + 1) === 10) i++;
      }
      start = i + 1;
      const event = this.#line(line);
      if (event) events.push(event);
    }
    this.#rest += text.slice(start);
    return events;
  }

  #line(line: string): SseEvent | null {
    if (line === '') {
      const event =
        this.#data.length > 0 ? { type: this.#type || 'message', data: this.#data.join('\n'), id: this.#id } : null;
      this.#data = [];
      this.#type = '';
      return event;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#type = value;
    else if (field === 'id') this.#id = value;
    return null;
  }
}

export type LinkState = 'connecting' | 'live' | 'down';

export interface FollowOptions {
  /** Opens the stream; may throw. */
  open(signal: AbortSignal): Promise<Response>;
  onEvent(event: SseEvent): void;
  /** `retryAt` (epoch ms) accompanies `down`. */
  onState(state: LinkState, detail: { reason: string | null; retryAt: number | null }): void;
  /** True: give up for good, as after a refused login. */
  fatal(error: unknown): boolean;
  signal: AbortSignal;
  /** Milliseconds of silence after which the connection counts as dead. */
  silence(): number;
  firstPause?: number;
  longestPause?: number;
}

/** Follows a stream until `signal` is aborted or an error is fatal. */
export async function follow(options: FollowOptions): Promise<void> {
  const first = options.firstPause ?? 500;
  const longest = options.longestPause ?? 15_000;
  let tries = 0;
  while (!options.signal.aborted) {
    options.onState('connecting', { reason: null, retryAt: null });
    let reason: string;
    try {
      // Only an event proves that the stream works: one that is closed at once must not be retried fast.
      await readOnce(options, () => {
        tries = 0;
      });
      reason = 'the controller closed the stream';
    } catch (error) {
      if (options.signal.aborted) return;
      reason = error instanceof Error ? error.message : String(error);
      if (options.fatal(error)) {
        options.onState('down', { reason, retryAt: null });
        return;
      }
    }
    if (options.signal.aborted) return;
    const pause = Math.min(longest, first * 2 ** Math.min(tries, 10)) * (0.75 + Math.random() * 0.5);
    tries++;
    options.onState('down', { reason, retryAt: Date.now() + pause });
    await sleep(pause, options.signal);
  }
}

async function readOnce(options: FollowOptions, onProgress: () => void): Promise<void> {
  const abort = new AbortController();
  const stop = () => abort.abort();
  options.signal.addEventListener('abort', stop, { once: true });
  let silent = false;
  let watchdog: ReturnType<typeof setTimeout> | undefined;
  const feed = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => {
      silent = true;
      stop();
    }, options.silence());
  };
  try {
    feed();
    const response = await options.open(abort.signal);
    const type = response.headers.get('Content-Type') ?? '';
    if (!type.startsWith('text/event-stream') || !response.body) throw new Error('the stream is not an event stream');
    options.onState('live', { reason: null, retryAt: null });
    const parser = new SseParser();
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      feed();
      for (const event of parser.push(decoder.decode(value, { stream: true }))) {
        onProgress();
        options.onEvent(event);
      }
    }
  } catch (error) {
    if (silent) throw new Error('the stream went silent');
    // What a browser says of a connection that breaks while it is read differs, and tells nobody anything.
    throw error instanceof TypeError ? new Error('the connection was lost') : error;
  } finally {
    clearTimeout(watchdog);
    options.signal.removeEventListener('abort', stop);
    stop();
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
