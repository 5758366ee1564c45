/** Where the operator is: kept in the fragment of the address, so that back, reload and links work. */

import { href, parse, type Route, type View } from './fragment';

export { href, type View };

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

export const router = new Router();
