import { keyGroups } from '../../../lib/ops';
import { keyFeedback, scoreError } from '../../../lib/quant/rptq/key-feedback';
import { gaussian } from '../../support/random';

function randomFloats(seed: number, count: number, scale = 1): Float32Array {
  const next = gaussian(seed);
  return Float32Array.from({ length: count }, () => next() * scale);
}

/** E[q q^T] of queries in a few directions, and a little in all others. */
function moments(dim: number, directions: number, rest: number): Float64Array {
  const w = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++) w[i * dim + i] = rest;
  for (let d = 0; d < directions; d++) {
    const v = randomFloats(d + 1, dim);
    for (let i = 0; i < dim; i++) {
      for (let j = 0; j < dim; j++) {
        w[i * dim + j] = (w[i * dim + j] as number) + (v[i] as number) * (v[j] as number);
      }
    }
  }
  return w;
}

/** Solves a x = b by Gauss-Jordan elimination with pivots. */
function solve(a: number[][], b: number[]): number[] {
  const rows = a.map((row, i) => [...row, b[i] as number]);
  for (let i = 0; i < rows.length; i++) {
    const below = rows.slice(i).map((row) => Math.abs(row[i] as number));
    const pivot = i + below.indexOf(Math.max(...below));
    [rows[i], rows[pivot]] = [rows[pivot] as number[], rows[i] as number[]];
    const own = rows[i] as number[];
    for (const [r, row] of rows.entries()) {
      if (r === i) continue;
      const factor = (row[i] as number) / (own[i] as number);
      for (let c = i; c < row.length; c++)
        row[c] = (row[c] as number) - factor * (own[c] as number);
    }
  }
  return rows.map((row, i) => (row.at(-1) as number) / (row[i] as number));
}

/** Rounds to whole numbers with feedback, as `key_round` does; the errors. */
function errorsOf(x: Float32Array, feedback: Float32Array): Float32Array {
  const dim = x.length;
  const errors = new Float32Array(dim);
  let begin = 0;
  for (const size of keyGroups(dim)) {
    for (let i = begin; i < begin + size; i++) {
      let wanted = x[i] as number;
      for (let j = 0; j < begin; j++) {
        wanted += (errors[j] as number) * (feedback[j * dim + i] as number);
      }
      errors[i] = Math.round(wanted) - (x[i] as number);
    }
    begin += size;
  }
  return errors;
}

test('groups are half of what is left', () => {
  expect(keyGroups(64)).toEqual([32, 16, 8, 4, 2, 1, 1]);
  expect(keyGroups(80)).toEqual([40, 20, 10, 5, 3, 1, 1]);
  expect(keyGroups(6)).toEqual([3, 2, 1]);
});

test('the change of the channels left is the one of least error', () => {
  const dim = 10;
  const w = moments(dim, 3, 0.5);
  const trace = Array.from({ length: dim }, (_, i) => w[i * dim + i] as number);
  const damp = (0.01 * trace.reduce((sum, value) => sum + value)) / dim;
  const at = (i: number, j: number) => (w[i * dim + j] as number) + (i === j ? damp : 0);
  const feedback = keyFeedback(w, dim);
  let begin = 0;
  for (const size of keyGroups(dim)) {
    const left = Array.from({ length: dim - begin }, (_, i) => begin + i);
    for (let j = 0; j < begin; j++) {
      const change = solve(
        left.map((r) => left.map((c) => at(r, c))),
        left.map((r) => -at(r, j)),
      );
      for (let i = 0; i < size; i++) {
        expect(feedback[j * dim + begin + i]).toBeCloseTo(change[i] as number, 5);
      }
    }
    for (let i = begin; i < begin + size; i++) {
      for (let j = begin; j < dim; j++) expect(feedback[j * dim + i]).toBe(0);
    }
    begin += size;
  }
});

test('errors leave little where few directions of the queries matter', () => {
  const dim = 64;
  const w = moments(dim, 2, 0.01);
  const rows = Array.from({ length: 200 }, (_, i) => randomFloats(100 + i, dim, 3));
  const nearest = scoreError(
    rows.map((x) => x.map((value) => Math.round(value) - value)),
    w,
  );
  const fed = scoreError(
    rows.map((x) => errorsOf(x, keyFeedback(w, dim))),
    w,
  );
  expect(fed).toBeLessThan(nearest / 10);
});

test('independent channels, and heads that nobody asks, round to the nearest', () => {
  const identity = Float64Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0));
  for (const w of [identity, new Float64Array(64)]) {
    expect([...keyFeedback(w, 8)].every((value) => value === 0)).toBe(true);
  }
});
