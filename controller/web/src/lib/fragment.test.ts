import { expect, test } from 'vitest';
import { href, parse } from './fragment';

test('a link leads to where it says, and what is no place leads to the slices', () => {
  expect(parse(href('nodes', 'a/b ü%'))).toEqual({ view: 'nodes', id: 'a/b ü%' });
  expect(parse(href('events'))).toEqual({ view: 'events', id: null });
  expect(parse('')).toEqual({ view: 'slices', id: null });
  expect(parse('#/elsewhere/x')).toEqual({ view: 'slices', id: 'x' });
  expect(parse('#/slices/100%')).toEqual({ view: 'slices', id: '100%' });
});
