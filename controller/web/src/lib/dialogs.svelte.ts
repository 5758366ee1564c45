/** Which dialog is open. Kept apart from the rows that open them: those come and go with scrolling and filters. */

import type { Slice } from './model';
import type { Opened } from './store.svelte';

export type Dialog =
  | { kind: 'create' }
  | { kind: 'edit'; opened: Opened }
  | { kind: 'delete'; slice: Slice }
  | { kind: 'disable'; slice: Slice };

class Dialogs {
  open = $state.raw<Dialog | null>(null);

  close = (): void => {
    this.open = null;
  };
}

export const dialogs = new Dialogs();
