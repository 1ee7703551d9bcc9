import { roundEven } from '../half';
import { rotate } from './attention';
import { given, type Reference, rowOf, sizeOf } from './types';

export const keyRound: Reference = (inputs, { bits }) => {
  const [q, k, grid] = ['q', 'k', 'grid'].map((name) => given(inputs, name)) as [Host, Host, Host];
  const feedback = given(inputs, 'feedback');
  const [heads, dim] = feedback.shape as [number, number, number];
  const out = { q: q.data.slice(), k: k.data.slice() };
  const [rows, width] = sizeOf(q);
  const largest = 2 ** (bits as number) - 1;
  for (let t = 0; t < rows; t++) {
    const position = given(inputs, 'positions').data[t] as number;
    if (position < 0) continue;
    const angles = inputs.rope && rowOf(inputs.rope, position);
    const turn = (row: Float64Array) => (angles ? rotate(row, dim, angles) : row);
    out.q.set(turn(rowOf(q, t)), t * width);
    const keys = turn(rowOf(k, t));
    for (let head = 0; head < heads; head++) {
      const x = keys.subarray(head * dim, (head + 1) * dim);
      const errors: number[] = [];
      for (let begin = 0; begin < dim; begin = errors.length) {
        const size = Math.ceil((dim - begin) / 2);
        for (let i = begin; i < begin + size; i++) {
          const c = head * dim + i;
          const [scale, zero] = [grid.data[c] as number, grid.data[heads * dim + c] as number];
          let wanted = x[i] as number;
          for (let j = 0; j < begin; j++) {
            wanted += (errors[j] as number) * (feedback.data[(head * dim + j) * dim + i] as number);
          }
          const code = Math.min(Math.max(roundEven(wanted / scale) + zero, 0), largest);
          errors.push(scale * (code - zero) - (x[i] as number));
        }
      }
      for (const [i, error] of errors.entries()) {
        out.k[(t * heads + head) * dim + i] = (x[i] as number) + error;
      }
    }
  }
  return out;
};

type Host = ReturnType<typeof given>;
