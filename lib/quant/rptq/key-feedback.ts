import { keyGroups } from '../../ops';

/** Share of the mean of the diagonal that is added to it, for directions that no query had. */
const DAMP = 0.01;

/**
 * What `key_round` adds to the channels of a head that are not rounded yet, for the errors of those
 * that are: the change of them that makes the expected squared error of the scores least. With
 * moments W = E[q q^T], e the errors and R the channels left, that is -W[R, R]^-1 W[R, P] e[P].
 *
 * It is worth most where few directions of the queries matter, as in heads that attend by position:
 * the errors of D channels then leave nearly nothing in these directions.
 * @param moments [D, D], symmetric and not negative; any scale
 * @returns [D, D]: entry (j, i) is what an error of channel j adds to channel i; 0 unless i is in a
 * later group
 */
export function keyFeedback(moments: Float64Array | Float32Array, dim: number): Float32Array {
  const u = upperFactor(damped(moments, dim), dim);
  const at = (row: number, col: number): number => u[row * dim + col] as number;
  const feedback = new Float32Array(dim * dim);
  let begin = 0;
  for (const size of keyGroups(dim)) {
    // W = u u^T, so W[R, R]^-1 W[R, P] = u[R, R]^-T u[P, R]^T, and its first rows need the group alone.
    for (let j = 0; j < begin; j++) {
      for (let i = begin; i < begin + size; i++) {
        let sum = at(j, i);
        for (let m = begin; m < i; m++) sum += at(m, i) * (feedback[j * dim + m] as number);
        feedback[j * dim + i] = -sum / at(i, i);
      }
    }
    begin += size;
  }
  return feedback;
}

/** The mean squared error of scores, e^T W e over rows of errors e of one head. */
export function scoreError(
  errors: readonly Float32Array[],
  moments: Float64Array | Float32Array,
): number {
  let sum = 0;
  for (const e of errors) {
    const dim = e.length;
    for (let i = 0; i < dim; i++) {
      const row = i * dim;
      let product = 0;
      for (let j = 0; j < dim; j++) product += (moments[row + j] as number) * (e[j] as number);
      sum += product * (e[i] as number);
    }
  }
  return sum / errors.length;
}

function damped(moments: Float64Array | Float32Array, dim: number): Float64Array {
  const w = Float64Array.from(moments);
  let trace = 0;
  for (let i = 0; i < dim; i++) trace += w[i * dim + i] as number;
  // Queries that are all 0 leave nothing to choose by.
  const added = trace > 0 ? (DAMP * trace) / dim : 1;
  for (let i = 0; i < dim; i++) w[i * dim + i] = (w[i * dim + i] as number) + added;
  return w;
}

/** Upper triangular u with u u^T = w, for a positive definite w. */
function upperFactor(w: Float64Array, dim: number): Float64Array {
  const u = new Float64Array(dim * dim);
  for (let j = dim - 1; j >= 0; j--) {
    for (let i = j; i >= 0; i--) {
      let sum = w[i * dim + j] as number;
      for (let k = j + 1; k < dim; k++) {
        sum -= (u[i * dim + k] as number) * (u[j * dim + k] as number);
      }
      u[i * dim + j] = i === j ? Math.sqrt(sum) : sum / (u[j * dim + j] as number);
    }
  }
  return u;
}
