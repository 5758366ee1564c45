/** Where the operator is, as the fragment of the address says it. */

export type View = 'slices' | 'nodes' | 'events';

export interface Route {
  view: View;
  /** A slice, or a node. */
  id: string | null;
}

export function href(view: View, id: string | null = null): string {
  return id === null ? `#/${view}` : `#/${view}/${encodeURIComponent(id)}`;
}

/** What people type may be anything. */
export function parse(hash: string): Route {
  const [, view, id] = hash.split('/');
  const known: View = view === 'nodes' || view === 'events' ? view : 'slices';
  return { view: known, id: id ? decode(id) : null };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
