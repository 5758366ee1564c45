/** Steering of a slice as the page shows it: what its nodes tell of its rules, chains and ports. */

import { list, number, text, time, type Json } from './model';

export interface Steering {
  /** Whether the slice itself asks for it; else applications do. */
  configured: boolean;
  nodes: SteeringNode[];
}

export interface SteeringNode {
  name: string;
  /** When it was read. */
  readAt: number | null;
  ports: { name: string; state: string }[];
  applications: { chain: string; name: string; up: boolean; reason: string | null; packets: number }[];
  rules: SteeringRule[];
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
  return configured || nodes.length > 0 ? { configured, nodes } : null;
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
  };
}

/** What is said of a rule in one word. */
export function ruleState(rule: SteeringRule): { text: string; tone: 'good' | 'bad' | 'warn' | 'idle' } {
  if (rule.there === null) return { text: 'unknown', tone: 'idle' };
  if (!rule.there) return { text: 'missing', tone: 'bad' };
  if (rule.shadowedBy !== null) return { text: `never reached: ${rule.shadowedBy}`, tone: 'warn' };
  return { text: 'in force', tone: 'good' };
}

/** Ports and applications of a node that are not up. */
export function ailing(node: SteeringNode): string[] {
  return [
    ...node.ports.filter((p) => p.state !== 'up' && p.state !== 'unknown').map((p) => `port ${p.name} is ${p.state}`),
    ...node.applications
      .filter((a) => !a.up)
      .map((a) => `${a.name} of chain ${a.chain} gets no packets${a.reason === null ? '' : `: ${a.reason}`}`),
  ];
}
