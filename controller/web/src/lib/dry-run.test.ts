import { expect, test } from 'vitest';
import { readDryRun } from './dry-run';

test('the answer to a dry run is read with plans, refusals and nodes that are away', () => {
  const body = {
    'tranche-dry-run:dry-run': {
      commit: '7',
      outcome: 'refused',
      'users-dropped': 4,
      error: [{ number: 1, 'error-tag': 'operation-failed', 'error-message': 'node n1 refused the validation' }],
      node: [
        {
          name: 'n1',
          outcome: 'refused',
          'edit-config': '<ran/>',
          note: ['later'],
          plan: {
            changes: 2,
            'users-dropped': 4,
            step: [{ number: 1, domain: 'ran', path: '/a', action: 'delete a', 'users-dropped': 4 }],
            warning: [{ number: 1, kind: 'recreated', path: '/a', message: 'deleted and created anew' }],
          },
          refusal: [{ number: 1, 'error-tag': 'operation-failed', 'error-path': '/a', 'error-message': 'it has UEs' }],
        },
        { name: 'n2', outcome: 'away', reason: 'no route' },
      ],
    },
  };
  expect(readDryRun(body)).toEqual({
    outcome: 'refused',
    usersDropped: 4,
    errors: ['node n1 refused the validation'],
    nodes: [
      {
        name: 'n1',
        outcome: 'refused',
        reason: null,
        notes: ['later'],
        edit: '<ran/>',
        steps: [{ domain: 'ran', action: 'delete a', usersDropped: 4 }],
        warnings: ['deleted and created anew'],
        refusals: [{ message: 'it has UEs', path: '/a' }],
      },
      { name: 'n2', outcome: 'away', reason: 'no route', notes: [], edit: null, steps: [], warnings: [], refusals: [] },
    ],
  });
});

test('an answer of nothing changes nothing', () => {
  const body = { 'tranche-dry-run:dry-run': { commit: '7', outcome: 'accepted', 'users-dropped': 0 } };
  expect(readDryRun(body)).toEqual({ outcome: 'accepted', usersDropped: 0, errors: [], nodes: [] });
});
