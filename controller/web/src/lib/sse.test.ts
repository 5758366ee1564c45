import { expect, test, vi } from 'vitest';
import { follow, SseParser, type LinkState, type SseEvent } from './sse';

const STREAM =
  '\uFEFF: welcome\r\n\r\ndata: {"a":1}\r\nid: 7\r\n\r\nevent: period\ndata: one\ndata:two\n\ndata\n\nevent: lost\n\n: ping\n\ndata: cr\r\rdata: cut';
const EVENTS: SseEvent[] = [
  { type: 'message', data: '{"a":1}', id: '7' },
  { type: 'period', data: 'one\ntwo', id: '7' },
  { type: 'message', data: '', id: '7' },
  { type: 'message', data: 'cr', id: '7' },
];

test('the parser gives the same events wherever the text is cut', () => {
  for (let size = 1; size <= STREAM.length; size++) {
    const parser = new SseParser();
    const events: SseEvent[] = [];
    for (let at = 0; at < STREAM.length; at += size) events.push(...parser.push(STREAM.slice(at, at + size)));
    expect(events, `cut every ${size}`).toEqual(EVENTS);
  }
});

function eventStream(...chunks: string[]): Response {
  const bytes = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(bytes.encode(chunk));
      controller.close();
    },
  });
  return new Response(body, { headers: { 'Content-Type': 'text/event-stream' } });
}

test('a stream that ends is opened again, and a refused login ends it for good', async () => {
  const answers = [
    () => Promise.reject(new Error('away')),
    () => Promise.resolve(eventStream('data: 1\n', '\ndata: 2\n\n')),
    () => Promise.resolve(new Response('hello', { headers: { 'Content-Type': 'text/html' } })),
    () => Promise.reject(new Error('refused')),
  ];
  const states: [LinkState, string | null][] = [];
  const data: string[] = [];
  await follow({
    open: () => (answers.shift() as () => Promise<Response>)(),
    onEvent: (event) => data.push(event.data),
    onState: (state, { reason }) => states.push([state, reason]),
    fatal: (error) => error instanceof Error && error.message === 'refused',
    signal: new AbortController().signal,
    silence: () => 1000,
    firstPause: 1,
  });
  expect(data).toEqual(['1', '2']);
  expect(states).toEqual([
    ['connecting', null],
    ['down', 'away'],
    ['connecting', null],
    ['live', null],
    ['down', 'the controller closed the stream'],
    ['connecting', null],
    ['down', 'the stream is not an event stream'],
    ['connecting', null],
    ['down', 'refused'],
  ]);
});

test('a stream that goes silent counts as lost', async () => {
  vi.useFakeTimers();
  try {
    const abort = new AbortController();
    const down = new Promise<string | null>((resolve) => {
      void follow({
        open: (signal) =>
          new Promise((_, reject) =>
            signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError'))),
          ),
        onEvent: () => undefined,
        onState: (state, { reason }) => state === 'down' && resolve(reason),
        fatal: () => false,
        signal: abort.signal,
        silence: () => 20_000,
      });
    });
    await vi.advanceTimersByTimeAsync(20_001);
    expect(await down).toBe('the stream went silent');
    abort.abort();
  } finally {
    vi.useRealTimers();
  }
});
