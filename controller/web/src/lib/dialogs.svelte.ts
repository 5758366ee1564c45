/** Which dialog is open. Kept apart from the rows that open them: those come and go with scrolling and filters. */

import type { Slice } from './model';

export type Dialog =
  | { kind: 'create' }
  | { kind: 'edit'; slice: Slice; etag: string | null }
  | { kind: 'delete'; slice: Slice }
  | { kind: 'disable'; slice: Slice };

class Dialogs {
  open = $state.raw<Dialog | null>(null);

  close = (): void => {
    this.open = null;
  };
}

export const dialogs = new Dialogs();
