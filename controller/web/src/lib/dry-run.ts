/** What a change would do, as the controller answers a request with `dry-run` (module tranche-dry-run). */

import { list, number, text, type Json } from './model';

export interface DryRun {
  /** `accepted` or `refused`. */
  outcome: string;
  usersDropped: number;
  errors: string[];
  nodes: DryRunNode[];
}

export interface DryRunNode {
  name: string;
  outcome: string;
  reason: string | null;
  notes: string[];
  /** XML, as the node would get it. */
  edit: string | null;
  steps: { domain: string; action: string; usersDropped: number }[];
  warnings: string[];
  refusals: { message: string; path: string | null }[];
}

export function readDryRun(body: unknown): DryRun {
  const whole = member(body, 'tranche-dry-run:dry-run');
  return {
    outcome: text(whole.outcome) ?? 'refused',
    usersDropped: number(whole['users-dropped']) ?? 0,
    errors: list(whole, 'error').map((e) => text(e['error-message']) ?? ''),
    nodes: list(whole, 'node').map(readNode),
  };
}

function readNode(node: Json): DryRunNode {
  const plan = member(node, 'plan');
  return {
    name: text(node.name) ?? '',
    outcome: text(node.outcome) ?? 'cannot-plan',
    reason: text(node.reason),
    notes: Array.isArray(node.note) ? node.note.filter((n): n is string => typeof n === 'string') : [],
    edit: text(node['edit-config']),
    steps: list(plan, 'step').map((s) => ({
      domain: text(s.domain) ?? '',
      action: text(s.action) ?? '',
      usersDropped: number(s['users-dropped']) ?? 0,
    })),
    warnings: list(plan, 'warning').map((w) => text(w.message) ?? ''),
    refusals: list(node, 'refusal').map((r) => ({
      message: text(r['error-message']) ?? '',
      path: text(r['error-path']),
    })),
  };
}

function member(of: unknown, name: string): Json {
  const value = typeof of === 'object' && of !== null ? (of as Json)[name] : undefined;
  return typeof value === 'object' && value !== null ? (value as Json) : {};
}
