/**
 * What the page knows of the controller, kept up to date.
 *
 * Owns the session, the stream, the polling of operational state and the edits. Components read from here and call its
 * methods; they never talk to the controller themselves. What the stream brings is gathered and shown in batches.
 */

import { readDryRun, type DryRun } from './dry-run';
import { addLines, logCorrections, logHistory, logLink, logNotice, logScheduler, type LogEntry } from './events';
import {
  readInventory,
  readNotice,
  readOneSlice,
  readSla,
  readSliceSla,
  readSlices,
  readStreams,
  type DomainState,
  type Measure,
  type Node,
  type Notice,
  type Scheduler,
  type Site,
  type Slice,
} from './model';
import { entry, Restconf, RestconfError, type Credentials, type Reply } from './restconf';
import { asDryRun, enabledPatch, sameConfiguration, slicePath, type Request } from './slice-form';
import { follow, type LinkState } from './sse';
import { Timeline } from './timeline';

const REFRESH = 5_000;
const BATCH = 120;
const LOG_LENGTH = 500;
const KEPT = 'tranche-session';
/** Of these the first that there is. `NETCONF` carries all notifications and must exist (RFC 8040 section 6.3.1). */
const STREAM_NAMES = ['NETCONF', 'sla'];

export interface Link {
  state: LinkState;
  reason: string | null;
  retryAt: number | null;
}

/** A slice as an edit found it, with the tag that guards it. */
export interface Opened {
  slice: Slice;
  etag: string | null;
}

export class Store {
  user = $state<string | null>(null);
  /** Why the login form is shown again. */
  signedOutBecause = $state<string | null>(null);
  link = $state.raw<Link>({ state: 'connecting', reason: null, retryAt: null });
  loaded = $state(false);
  /** Why the last refresh failed. */
  problem = $state<string | null>(null);
  /** Why the last action of the operator failed. */
  actionFailed = $state<string | null>(null);
  nodes = $state.raw<Node[]>([]);
  sites = $state.raw<Site[]>([]);
  slices = $state.raw<Slice[]>([]);
  scheduler = $state.raw<Scheduler>({ enabled: true, interval: 2000 });
  schedulerBusy = $state(false);
  /** The measures of the last period, by slice. */
  latest = $state.raw<Map<string, Measure[]>>(new Map());
  lastPeriodAt = $state<number | null>(null);
  /** Newest first. */
  log = $state.raw<LogEntry[]>([]);
  /** Goes up whenever the timeline has changed. */
  revision = $state(0);
  readonly timeline = new Timeline();

  #client: Restconf | null = null;
  #session: AbortController | null = null;
  #queue: Notice[] = [];
  #flush: ReturnType<typeof setTimeout> | undefined;
  #refresh: ReturnType<typeof setTimeout> | undefined;
  #refreshing: Promise<void> | null = null;
  #wasLive = false;
  #lost = false;

  /** Checks the credentials and, where they are good, starts to follow the controller. */
  async signIn(credentials: Credentials, keep: boolean): Promise<void> {
    const client = new Restconf(credentials);
    try {
      await client.get('tranche-sla:sla/scheduler');
    } catch (error) {
      // Known, but this resource is empty or closed to the user: the login itself is good.
      if (!(error instanceof RestconfError) || (error.status !== 404 && error.status !== 403)) throw error;
    }
    if (keep) sessionStorage.setItem(KEPT, JSON.stringify(credentials));
    this.user = credentials.user;
    this.signedOutBecause = null;
    this.#start(client);
  }

  /** Takes up the session kept for this tab, if any. */
  async resume(): Promise<void> {
    const kept = sessionStorage.getItem(KEPT);
    if (kept === null) return;
    try {
      await this.signIn(JSON.parse(kept) as Credentials, true);
    } catch (error) {
      // Where the controller is only away, another reload may find it.
      if (error instanceof RestconfError && error.unauthorised) sessionStorage.removeItem(KEPT);
      this.signedOutBecause = messageOf(error);
    }
  }

  signOut(because: string | null = null): void {
    sessionStorage.removeItem(KEPT);
    this.#session?.abort();
    this.#session = null;
    this.#client = null;
    clearTimeout(this.#flush);
    clearTimeout(this.#refresh);
    this.#flush = undefined;
    this.#queue = [];
    this.#wasLive = this.#lost = false;
    this.timeline.clear();
    this.user = null;
    this.loaded = false;
    this.problem = this.actionFailed = null;
    this.nodes = [];
    this.sites = [];
    this.slices = [];
    this.latest = new Map();
    this.lastPeriodAt = null;
    this.log = [];
    this.link = { state: 'connecting', reason: null, retryAt: null };
    this.signedOutBecause = because;
    this.revision++;
  }

  async setScheduler(enabled: boolean): Promise<void> {
    this.schedulerBusy = true;
    try {
      // PUT of the leaf: unlike PATCH of its container it needs nothing to be there before (RFC 8040 section 4.6).
      const path = 'tranche-sla:sla/scheduler/enabled';
      const done = await this.#do((client) => client.put(path, { 'tranche-sla:enabled': enabled }));
      if (done) this.#switched(Date.now(), enabled);
    } finally {
      this.schedulerBusy = false;
    }
  }

  /**
   * Sends the requests of an edit one after the other; throws at the first that is refused. `opened`: the slice as it was
   * when the edit began, which must still be the same.
   */
  async edit(requests: Request[], opened: Opened | null = null): Promise<void> {
    const client = this.#mustClient();
    let tag = opened?.etag ?? null;
    try {
      for (const r of requests) {
        try {
          await this.#guard(this.#send(client, r, tag));
        } catch (error) {
          if (!opened || tag === null || !isPrecondition(error)) throw error;
          // The tag may stand for the whole configuration (RFC 8040 section 3.5.1): what counts is this slice.
          const now = await this.sliceForEdit(opened.slice.id);
          if (!sameConfiguration(now.slice, opened.slice)) throw changedMeanwhile(error);
          await this.#guard(this.#send(client, r, now.etag));
        }
        // The first request has checked that nobody came between; what follows is on top of our own.
        tag = null;
      }
    } finally {
      await this.refresh();
    }
  }

  /** What the requests of an edit would do, each by itself, as things are now. */
  async preview(requests: Request[]): Promise<DryRun[]> {
    const client = this.#mustClient();
    const answers: DryRun[] = [];
    for (const r of requests) {
      const reply = await this.#guard(this.#send(client, asDryRun(r), null));
      answers.push(readDryRun(reply.data));
    }
    return answers;
  }

  async setEnabled(slice: Slice, enabled: boolean): Promise<void> {
    await this.#do((client) => this.#send(client, enabledPatch(slice.id, enabled), null));
    await this.refresh();
  }

  async remove(slice: Slice): Promise<void> {
    await this.edit([{ method: 'DELETE', path: slicePath(slice.id) }]);
  }

  /** The configuration of a slice as it is now, with the tag that guards its edit. */
  async sliceForEdit(id: string): Promise<Opened> {
    const reply = await this.#guard(this.#mustClient().get(slicePath(id)));
    const slice = readOneSlice(reply.data);
    if (!slice) throw new Error(`the controller gave no slice ${id}`);
    return { slice, etag: reply.etag };
  }

  async slaOf(id: string, signal: AbortSignal): Promise<DomainState[]> {
    try {
      const reply = await this.#guard(this.#mustClient().get(`tranche-sla:sla/${entry('slice', id)}`, { signal }));
      return readSliceSla(reply.data);
    } catch (error) {
      if (error instanceof RestconfError && error.status === 404) return [];
      throw error;
    }
  }

  /** Reads inventory and slices now; several calls at once share one reading. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#readState().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  #start(client: Restconf): void {
    this.#session?.abort();
    const session = new AbortController();
    this.#session = session;
    this.#client = client;
    void this.#poll(session.signal);
    void follow({
      signal: session.signal,
      open: async (signal) => client.stream(await this.#streamLocation(client, signal), signal),
      onEvent: (event) => {
        const notice = readNotice(event.data);
        if (notice) this.#take(notice);
      },
      onState: (state, detail) => this.#onLink(state, detail, session.signal),
      fatal: (error) => {
        if (!(error instanceof RestconfError && error.unauthorised)) return false;
        this.signOut('the controller no longer accepts this login');
        return true;
      },
      silence: () => Math.max(20_000, 4 * this.scheduler.interval),
    });
  }

  async #streamLocation(client: Restconf, signal: AbortSignal): Promise<string> {
    const reply = await client.get('ietf-restconf-monitoring:restconf-state/streams', { signal });
    const streams = readStreams(reply.data, location.origin);
    for (const name of STREAM_NAMES) {
      const found = streams.find((s) => s.name === name);
      if (found) return found.location;
    }
    throw new Error('the controller offers no stream that the page knows');
  }

  #onLink(state: LinkState, detail: { reason: string | null; retryAt: number | null }, session: AbortSignal): void {
    if (session.aborted) return;
    if (state === 'live') {
      if (this.#lost) this.#append([logLink(Date.now(), true, null)]);
      this.#wasLive = true;
      this.#lost = false;
      void this.#loadSla(session);
    } else if (state === 'down' && this.#wasLive) {
      this.#append([logLink(Date.now(), false, detail.reason)]);
      this.#wasLive = false;
      this.#lost = true;
    }
    // Each try passes through `connecting`: while it lasts the reason of the last failure is still the news.
    const reason = state === 'connecting' ? this.link.reason : detail.reason;
    this.link = { state, reason, retryAt: detail.retryAt };
  }

  /** What the page has missed, or all of it at first: the periods that the controller still remembers. */
  async #loadSla(session: AbortSignal): Promise<void> {
    try {
      const reply = await this.#guard(this.#mustClient().get('tranche-sla:sla', { signal: session }));
      const sla = readSla(reply.data);
      this.#apply();
      const before = this.timeline.latest();
      const missed = sla.history.filter((p) => this.timeline.add(p));
      this.#append(logHistory(missed, before));
      this.scheduler = sla.scheduler;
      this.#published();
    } catch (error) {
      if (!session.aborted) this.problem = messageOf(error);
    }
  }

  async #poll(session: AbortSignal): Promise<void> {
    const started = performance.now();
    if (!document.hidden || !this.loaded) await this.refresh();
    if (session.aborted) return;
    const pause = Math.max(REFRESH, 5 * (performance.now() - started));
    this.#refresh = setTimeout(() => void this.#poll(session), pause);
  }

  async #readState(): Promise<void> {
    const client = this.#client;
    if (!client) return;
    try {
      const [inventory, slices] = await this.#guard(
        Promise.all([
          client.get('tranche-inventory:inventory').catch(emptyWhenMissing),
          client.get('tranche-slice:slices').catch(emptyWhenMissing),
        ]),
      );
      if (client !== this.#client) return;
      const read = readInventory(inventory?.data);
      this.nodes = read.nodes;
      this.sites = read.sites;
      this.slices = readSlices(slices?.data);
      this.loaded = true;
      this.problem = null;
    } catch (error) {
      if (client === this.#client) this.problem = messageOf(error);
    }
  }

  #take(notice: Notice): void {
    this.#queue.push(notice);
    this.#flush ??= setTimeout(() => this.#apply(), BATCH);
  }

  #apply(): void {
    clearTimeout(this.#flush);
    this.#flush = undefined;
    const lines: LogEntry[] = [];
    let nodesChanged = false;
    for (const notice of this.#queue.splice(0)) {
      if (notice.kind === 'period') {
        if (!this.timeline.add(notice.period)) continue;
        // While our own switch is under way its answer counts, not periods from before it.
        if (!this.schedulerBusy) this.#switched(notice.period.time, notice.period.schedulerEnabled);
        const corrections = logCorrections(notice.period);
        if (corrections) lines.push(corrections);
      } else {
        nodesChanged ||= notice.kind === 'node';
        const entry = logNotice(notice);
        if (entry) lines.push(entry);
      }
    }
    this.#append(lines);
    this.#published();
    if (nodesChanged) void this.refresh();
  }

  #published(): void {
    this.latest = this.timeline.latest();
    this.lastPeriodAt = this.timeline.lastTime;
    this.revision++;
  }

  #switched(time: number, enabled: boolean): void {
    if (enabled === this.scheduler.enabled) return;
    this.scheduler = { ...this.scheduler, enabled };
    this.#append([logScheduler(time, enabled)]);
  }

  #append(lines: LogEntry[]): void {
    this.log = addLines(this.log, lines, LOG_LENGTH);
  }

  async #do(action: (client: Restconf) => Promise<unknown>): Promise<boolean> {
    try {
      this.actionFailed = null;
      await this.#guard(action(this.#mustClient()));
      return true;
    } catch (error) {
      this.actionFailed = messageOf(error);
      return false;
    }
  }

  #send(client: Restconf, { method, path, body }: Request, ifMatch: string | null): Promise<Reply> {
    switch (method) {
      case 'POST':
        return client.post(path, body);
      case 'PUT':
        return client.put(path, body, { ifMatch });
      case 'PATCH':
        return client.patch(path, body, { ifMatch });
      case 'DELETE':
        return client.delete(path, { ifMatch });
    }
  }

  /** A login that is no longer good ends the session, whoever notices. */
  async #guard<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof RestconfError && error.unauthorised)
        this.signOut('the controller no longer accepts this login');
      throw error;
    }
  }

  #mustClient(): Restconf {
    if (!this.#client) throw new Error('not signed in');
    return this.#client;
  }
}

/** A container without content may be answered with 404 (RFC 8040 section 4.3). */
function emptyWhenMissing(error: unknown): null {
  if (error instanceof RestconfError && error.status === 404) return null;
  throw error;
}

/** A tag that no longer holds; 412 also answers an edit that breaks a rule of the schema, and then names the place. */
function isPrecondition(error: unknown): error is RestconfError {
  return error instanceof RestconfError && error.status === 412 && error.errors.every((e) => e.path === null);
}

function changedMeanwhile(error: RestconfError): RestconfError {
  const [first] = error.errors;
  const message = 'somebody else has changed this slice since the form was opened: close it and open it again';
  return new RestconfError(error.status, [
    { type: 'protocol', tag: first?.tag ?? 'operation-failed', appTag: null, path: null, message },
  ]);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export const store = new Store();
