/**
 * GPTQ in double precision, without blocks or factorization tricks: written from the paper
 * (arXiv 2210.17323) and the description of its authors' code, to compare the library with.
 */
import { roundEven } from '../half';

// Jest looks globals up through its sandbox, which is slow in a loop.
const { abs, ceil, floor, max, min, sqrt } = Math;

export type Matrix = number[][];

export interface PlainOptions {
  bits: number;
  /** Columns per grid, 0: one per row. */
  groupSize: number;
  sym: boolean;
  grouping: number;
  mse: number;
  damp: number;
  /** 0: as they are, 1: by falling diagonal, 2: within groups, and groups by their largest. */
  ordering: number;
}

export interface PlainResult {
  codes: Matrix;
  scales: Matrix;
  zeros: Matrix;
  loss: number[];
  order: number[];
  /** Distance of each weight, when it was rounded, to where it would have rounded otherwise. */
  margins: Matrix;
}

export function plainOrder(diagonal: readonly number[], ordering: number, size: number): number[] {
  const all = diagonal.map((_, i) => i);
  const falling = (a: number, b: number) =>
    (diagonal[b] as number) - (diagonal[a] as number) || a - b;
  if (ordering === 0) return all;
  if (ordering === 1) return all.sort(falling);
  const groups: number[][] = [];
  for (let i = 0; i < all.length; i += size) groups.push(all.slice(i, i + size).sort(falling));
  const last = (groups.at(-1) as number[]).length < size ? groups.splice(-1) : [];
  groups.sort((a, b) => {
    const [first, second] = [
      diagonal[a[0] as number] as number,
      diagonal[b[0] as number] as number,
    ];
    return second - first || floor((a[0] as number) / size) - floor((b[0] as number) / size);
  });
  return [...groups, ...last].flat();
}

/** Inverse by Gauss and Jordan. */
export function inverse(matrix: Matrix): Matrix {
  const n = matrix.length;
  const work = matrix.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let i = 0; i < n; i++) {
    const pivot = (work[i] as number[])[i] as number;
    const row = (work[i] as number[]).map((value) => value / pivot);
    work[i] = row;
    for (let r = 0; r < n; r++) {
      const other = work[r] as number[];
      const factor = other[i] as number;
      if (r === i || factor === 0) continue;
      for (let j = 0; j < 2 * n; j++) other[j] = (other[j] as number) - factor * (row[j] as number);
    }
  }
  return work.map((row) => row.slice(n));
}

/** Upper U with U^T U = matrix. */
export function upperCholesky(matrix: Matrix): Matrix {
  const n = matrix.length;
  const u: Matrix = matrix.map(() => new Array<number>(n).fill(0));
  const at = (i: number, j: number) => (u[i] as number[])[j] as number;
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      let sum = (matrix[i] as number[])[j] as number;
      for (let k = 0; k < i; k++) sum -= at(k, i) * at(k, j);
      (u[i] as number[])[j] = i === j ? sqrt(sum) : sum / at(i, i);
    }
  }
  return u;
}

interface Grid {
  scale: number;
  zero: number;
}

type GridOptions = Pick<PlainOptions, 'bits' | 'sym' | 'mse'>;

function gridOf(low: number, high: number, { bits, sym }: GridOptions): Grid {
  const scale = (high - low) / (2 ** bits - 1);
  return { scale, zero: sym ? 2 ** (bits - 1) : roundEven(-low / scale) };
}

function codeOf(value: number, { scale, zero }: Grid, bits: number): number {
  return max(0, min(2 ** bits - 1, roundEven(value / scale) + zero));
}

/** What else is tried for a range: the grid upside down, or another zero point where there are few. */
function secondGrid({ scale, zero }: Grid, depth: number, { bits, sym }: GridOptions): Grid[] {
  if (sym) return [{ scale: -scale, zero }];
  if (bits !== 2) return [];
  const exact = depth / scale;
  return [{ scale, zero: zero === floor(exact) ? ceil(exact) : floor(exact) }];
}

export function plainGrid(values: readonly number[], options: GridOptions): Grid {
  let low = min(0, ...values);
  let high = max(0, ...values);
  if (options.sym) {
    high = max(-low, high);
    if (low < 0) low = -high;
  }
  if (low === 0 && high === 0) [low, high] = [-1, 1];
  const whole = gridOf(low, high, options);
  if (!options.mse) return whole;
  let [best, least] = [whole, Number.POSITIVE_INFINITY];
  for (let i = 0; i < 80; i++) {
    const part = 1 - i / 100;
    const grid = gridOf(low * part, high * part, options);
    for (const candidate of [grid, ...secondGrid(grid, -low * part, options)]) {
      let error = 0;
      for (const value of values) {
        const code = codeOf(value, candidate, options.bits);
        const rounded = candidate.scale * (code - candidate.zero);
        error += abs(rounded - value) ** options.mse;
      }
      if (error < least) [best, least] = [candidate, error];
    }
  }
  return best;
}

export interface PlainFactor {
  /** Upper Cholesky factor of the inverse, in the order of positions. */
  u: Matrix;
  order: number[];
  dead: boolean[];
}

/** Order, dead columns and factor of a Hessian [K, K]. */
export function plainFactor(
  hessian: Matrix,
  { damp, ordering, size }: { damp: number; ordering: number; size: number },
): PlainFactor {
  const k = hessian.length;
  const dead = hessian.map((row, i) => row[i] === 0);
  const h = hessian.map((row, i) => row.map((value, j) => (i === j && dead[i] ? 1 : value)));
  const mean = h.reduce((sum, row, i) => sum + (row[i] as number), 0) / k;
  // Dead columns have weight 0 in the order, as they have in the Hessian.
  const diagonal = hessian.map((row, i) => row[i] as number);
  const order = plainOrder(diagonal, ordering, size);
  const permuted = order.map((a, p) =>
    order.map((b, q) => ((h[a] as number[])[b] as number) + (p === q ? damp * mean : 0)),
  );
  return { u: upperCholesky(inverse(permuted)), order, dead };
}

/** Quantizes weight [N, K] under the Hessian [K, K]. */
export function plainGptq(weight: Matrix, hessian: Matrix, options: PlainOptions): PlainResult {
  const size = options.groupSize || hessian.length;
  return plainQuantize(weight, plainFactor(hessian, { ...options, size }), options);
}

export function plainQuantize(
  weight: Matrix,
  { u, order, dead }: PlainFactor,
  options: Omit<PlainOptions, 'damp' | 'ordering'>,
): PlainResult {
  const k = order.length;
  const perRow = options.groupSize === 0;
  const size = options.groupSize || k;
  const result: PlainResult = { codes: [], scales: [], zeros: [], loss: [], order, margins: [] };
  for (const original of weight) {
    const grids: Grid[] = perRow ? [plainGrid(original, options)] : [];
    const alive = original.map((value, i) => (dead[i] ? 0 : value));
    if (!perRow && options.grouping === 1) {
      for (let i = 0; i < k; i += size) grids.push(plainGrid(alive.slice(i, i + size), options));
    }
    const row = order.map((column) => alive[column] as number);
    let seen = [...row];
    const codes = new Array<number>(k);
    const margins = new Array<number>(k);
    let loss = 0;
    for (let p = 0; p < k; p++) {
      // Grids inside a block of 128 do not see its own corrections.
      if (p % 128 === 0) seen = [...row];
      const column = order[p] as number;
      const group = floor((options.grouping === 0 ? p : column) / size);
      if (!perRow && options.grouping !== 1 && p % size === 0) {
        grids[group] = plainGrid(seen.slice(p, p + size), options);
      }
      const grid = grids[group] as Grid;
      const value = row[p] as number;
      const code = codeOf(value, grid, options.bits);
      const exact = value / grid.scale;
      margins[column] = abs(abs(exact - floor(exact)) - 0.5);
      codes[column] = code;
      const diagonalU = (u[p] as number[])[p] as number;
      const error = (value - grid.scale * (code - grid.zero)) / diagonalU;
      loss += error ** 2 / 2;
      for (let q = p + 1; q < k; q++) {
        row[q] = (row[q] as number) - error * ((u[p] as number[])[q] as number);
      }
    }
    result.codes.push(codes);
    result.scales.push(grids.map(({ scale }) => scale));
    result.zeros.push(grids.map(({ zero }) => zero));
    result.loss.push(loss);
    result.margins.push(margins);
  }
  return result;
}
