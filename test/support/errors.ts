import { FewbitError } from '../../lib/errors';

/** Runs `body` and returns the error that it must throw, which must be one of the library's. */
export function errorOf(body: () => unknown): FewbitError {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(FewbitError);
    return error as FewbitError;
  }
  throw new Error('nothing was thrown');
}

/** Anything at all, where the types would not let it through. */
export const wrong = (value: unknown) => value as never;

/** Values that are no handle, shape, name or array. */
export const WRONG_VALUES: readonly unknown[] = [
  undefined,
  null,
  0,
  Number.NaN,
  'x',
  {},
  [],
  () => 0,
  Symbol('x'),
  1n,
];
