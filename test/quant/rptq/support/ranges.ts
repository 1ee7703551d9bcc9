import { roundEven } from '../../../support/half';
import type { Matrix, PlainModel } from './plain-model';

/** Smallest and largest value of each channel, for each window. */
export type Ranges = { min: Float64Array; max: Float64Array }[];

function rangesOf(x: Matrix): Ranges[number] {
  const [first] = x as [Float64Array];
  const fold = (pick: (a: number, b: number) => number): Float64Array =>
    x.reduce((all, row) => all.map((value, k) => pick(value, row[k] as number)), first);
  return { min: fold(Math.min), max: fold(Math.max) };
}

/** The range of a cluster: moving averages of its extremes, window by window. */
export function clusterRange(
  ranges: Ranges,
  members: readonly number[],
): { min: number; max: number } {
  const [first, ...others] = ranges.map(({ min, max }) => ({
    min: Math.min(...members.map((k) => min[k] as number)),
    max: Math.max(...members.map((k) => max[k] as number)),
  })) as [{ min: number; max: number }];
  return others.reduce(
    (average, now: { min: number; max: number }) => ({
      min: 0.99 * average.min + 0.01 * now.min,
      max: 0.99 * average.max + 0.01 * now.max,
    }),
    first,
  );
}

/** The grid of arXiv 2304.01089's reference implementation. */
export function gridOf({ min, max }: { min: number; max: number }, bits: number) {
  const scale = Math.max((max - min) / 2 ** bits, 1e-4);
  return { scale, zero: roundEven(-(max + min) / (2 * scale)) };
}

/** What windows show: of linear layers by name, of attention by name and kind. */
export function observe(
  original: PlainModel,
  windows: readonly (readonly number[])[],
): Map<string, Ranges> {
  const seen = new Map<string, Ranges>();
  const add = (name: string, x: Matrix): Matrix => {
    seen.set(name, [...(seen.get(name) ?? []), rangesOf(x)]);
    return x;
  };
  for (const window of windows) {
    original.forward(window, {
      input: (names, x) => names.reduce((rows, name) => add(name, rows), x),
      attention: (name, kind, x) => add(`${name} ${kind}`, x),
    });
  }
  return seen;
}
