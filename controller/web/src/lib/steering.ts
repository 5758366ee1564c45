/** Steering of a slice as the page shows it: what its nodes tell of its rules, chains, ports and resolver. */

import { child, list, number, object, text, time, words, type Json } from './model';

export interface Steering {
  /** Whether the slice itself asks for it; else applications do. */
  configured: boolean;
  /** Where its resolver answers; none without one. */
  addresses: string[];
  nodes: SteeringNode[];
}

export interface SteeringNode {
  name: string;
  /** When it was read. */
  readAt: number | null;
  ports: { name: string; state: string }[];
  applications: { chain: string; name: string; up: boolean; reason: string | null; packets: number }[];
  rules: SteeringRule[];
  /** Its resolver there; null without one. */
  resolver: SteeringResolver | null;
}

/** What became of queries to a resolver: what is counted, by the model's names, with what it means. */
export const QUERIES = {
  answered: 'Answered from the records',
  forwarded: 'Answered by another resolver',
  refused: 'Refused, or making no sense',
  failed: 'Answered by no other resolver in time, or too many at once',
  limited: 'Over UDP and too many of one client, who was told to ask over TCP',
  ignored: 'No query, or not from a client',
} as const;

export type Query = keyof typeof QUERIES;

export interface SteeringResolver {
  /** Whether the node has it as it should be; null while that is not known. */
  there: boolean | null;
  state: string | null;
  /** Null while it is not known. */
  counts: Record<Query, number | null>;
}

export interface SteeringRule {
  name: string;
  /** Whether the node has it; null while that is not known. */
  there: boolean | null;
  packets: number | null;
  bytes: number | null;
  shadowedBy: string | null;
}

/** Null where nothing is steered and nothing is asked for. */
export function readSteering(config: unknown, state: Json): Steering | null {
  const nodes = list(state, 'node').map(readNode);
  const configured = config !== undefined;
  const addresses = words(child(object(config), 'resolver').address);
  return configured || nodes.length > 0 ? { configured, addresses, nodes } : null;
}

function readNode(n: Json): SteeringNode {
  return {
    name: text(n.name) ?? '',
    readAt: time(n['read-at']),
    ports: list(n, 'port').map((p) => ({ name: text(p.name) ?? '', state: text(p['oper-state']) ?? 'unknown' })),
    applications: list(n, 'chain').flatMap((c) =>
      list(c, 'application').map((a) => ({
        chain: text(c.name) ?? '',
        name: text(a.name) ?? '',
        up: a['is-up'] === true,
        reason: text(a.reason),
        packets: number(a.packets) ?? 0,
      })),
    ),
    rules: list(n, 'rule').map((r) => ({
      name: text(r.name) ?? '',
      there: typeof r['is-there'] === 'boolean' ? r['is-there'] : null,
      packets: number(r.packets),
      bytes: number(r.bytes),
      shadowedBy: text(r['shadowed-by']),
    })),
    resolver: n.resolver === undefined ? null : readResolver(child(n, 'resolver')),
  };
}

function readResolver(r: Json): SteeringResolver {
  const counts = (Object.keys(QUERIES) as Query[]).map((name) => [name, number(r[name])]);
  return {
    there: typeof r['is-there'] === 'boolean' ? r['is-there'] : null,
    state: text(r['oper-state']),
    counts: Object.fromEntries(counts) as SteeringResolver['counts'],
  };
}

interface Verdict {
  text: string;
  tone: 'good' | 'bad' | 'warn' | 'idle';
}

/** What is said of a rule in one word. */
export function ruleState(rule: SteeringRule): Verdict {
  if (rule.there === null) return { text: 'unknown', tone: 'idle' };
  if (!rule.there) return { text: 'missing', tone: 'bad' };
  if (rule.shadowedBy !== null) return { text: `never reached: ${rule.shadowedBy}`, tone: 'warn' };
  return { text: 'in force', tone: 'good' };
}

/** The same of a resolver. */
export function resolverState({ there, state }: SteeringResolver): Verdict {
  if (there === null) return { text: 'unknown', tone: 'idle' };
  if (!there) return { text: 'missing', tone: 'bad' };
  if (state === null) return { text: 'unknown', tone: 'idle' };
  return { text: state, tone: state === 'up' ? 'good' : 'bad' };
}

/** Ports, applications and the resolver of a node that are not up. */
export function ailing(node: SteeringNode): string[] {
  return [
    ...node.ports.filter((p) => p.state !== 'up' && p.state !== 'unknown').map((p) => `port ${p.name} is ${p.state}`),
    ...node.applications
      .filter((a) => !a.up)
      .map((a) => `${a.name} of chain ${a.chain} gets no packets${a.reason === null ? '' : `: ${a.reason}`}`),
    ...(node.resolver !== null && resolverState(node.resolver).tone === 'bad'
      ? [`the resolver is ${resolverState(node.resolver).text}`]
      : []),
  ];
}
