/** Where the operator is: kept in the fragment of the address, so that back, reload and links work. */

export type View = 'slices' | 'nodes' | 'events';

export interface Route {
  view: View;
  /** A slice, or a node. */
  id: string | null;
}

class Router {
  current = $state.raw<Route>(parse(location.hash));

  constructor() {
    addEventListener('hashchange', () => {
      this.current = parse(location.hash);
    });
  }

  go(view: View, id: string | null = null): void {
    location.hash = href(view, id);
  }
}

export function href(view: View, id: string | null = null): string {
  return id === null ? `#/${view}` : `#/${view}/${encodeURIComponent(id)}`;
}

function parse(hash: string): Route {
  const [, view, id] = hash.split('/');
  const known: View = view === 'nodes' || view === 'events' ? view : 'slices';
  return { view: known, id: id ? decodeURIComponent(id) : null };
}

export const router = new Router();
