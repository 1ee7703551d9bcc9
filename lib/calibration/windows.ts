import { OptionsError } from '../errors';
import type { PythonRandom } from './python-random';

export interface SampleOptions {
  /** Windows wanted. */
  samples: number;
  /** Ids of one. */
  seqlen: number;
}

/** Fewer predict too little to be of use. */
const SHORTEST_WINDOW = 2;

/**
 * Windows out of one long text, each from a random place, as the paper's code draws them. A text
 * with fewer ids than all windows together is cut into disjoint ones instead, the last one shorter.
 * @throws OptionsError for a text of fewer than 2 ids
 */
export function windowsOfStream(
  ids: readonly number[],
  { samples, seqlen }: SampleOptions,
  random: PythonRandom,
): number[][] {
  if (ids.length < SHORTEST_WINDOW) {
    throw new OptionsError(`the calibration text has ${ids.length} ids: give a longer one`);
  }
  if (ids.length > seqlen && ids.length >= samples * seqlen) {
    return Array.from({ length: samples }, () => {
      const begin = random.integer(0, ids.length - seqlen - 1);
      return ids.slice(begin, begin + seqlen);
    });
  }
  const windows: number[][] = [];
  for (let begin = 0; begin + SHORTEST_WINDOW <= ids.length; begin += seqlen) {
    windows.push(ids.slice(begin, begin + seqlen));
  }
  return windows;
}

/** Texts of which single ones are encoded when they are drawn. */
export interface Documents {
  readonly count: number;
  /** undefined for a text that is surely too short. */
  encode(index: number): readonly number[] | undefined;
}

/**
 * Windows out of random documents of at least `seqlen` ids, as the paper's code draws them from C4.
 * There are fewer than asked for when hardly any document is long enough.
 */
export function windowsOfDocuments(
  documents: Documents,
  { samples, seqlen }: SampleOptions,
  random: PythonRandom,
): number[][] {
  const windows: number[][] = [];
  const tooShort = new Set<number>();
  let draws = 1000 * samples;
  while (windows.length < samples && draws-- > 0 && tooShort.size < documents.count) {
    const index = random.integer(0, documents.count - 1);
    const ids = tooShort.has(index) ? undefined : documents.encode(index);
    if (!ids || ids.length <= seqlen) {
      tooShort.add(index);
      continue;
    }
    const begin = random.integer(0, ids.length - seqlen - 1);
    windows.push(ids.slice(begin, begin + seqlen));
  }
  return windows;
}
