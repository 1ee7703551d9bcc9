import { OptionsError } from '../errors';

/** Which part of a long text is evaluated, and how it is cut. */
export interface WindowOptions {
  /** Ids of one window; default 512. Windows are disjoint and see nothing of each other. */
  window?: number | undefined;
  /** Most windows, from the beginning of the text; default all. */
  limit?: number | undefined;
}

export const DEFAULT_WINDOW = 512;

/**
 * Cuts ids into windows. The last one may be shorter, but has at least the 2 ids that one prediction
 * needs.
 * @throws OptionsError when an option is wrong or there are fewer than 2 ids
 */
export function splitWindows(ids: ArrayLike<number>, options: WindowOptions = {}): number[][] {
  const { window = DEFAULT_WINDOW, limit = Number.MAX_SAFE_INTEGER } = options;
  if (!Number.isSafeInteger(window) || window < 2) {
    throw new OptionsError(`window must be a whole number of at least 2 ids, got ${window}`);
  }
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw new OptionsError(`limit must be a whole number of at least 1 window, got ${limit}`);
  }
  if (ids.length < 2) {
    throw new OptionsError(`the text has ${ids.length} ids: a prediction needs at least 2`);
  }
  const windows: number[][] = [];
  for (let begin = 0; begin + 1 < ids.length && windows.length < limit; begin += window) {
    const end = Math.min(begin + window, ids.length);
    windows.push(Array.from({ length: end - begin }, (_, i) => ids[begin + i] as number));
  }
  return windows;
}
