import { type CaseTensor, type Fill, input, output, values } from './op-case';

/** Columns 0 .. k - 1 in an order that mixes all of them; k has no factor in common with 37. */
export const mixed = (k: number, count = k): number[] =>
  Array.from({ length: count }, (_, i) => (i * 37 + 5) % k);

/** Scales that are powers of 2, with zero points inside and outside of the codes. */
export const powers = (columns: number): Fill =>
  values(
    ...Array.from({ length: columns }, (_, j) => 2 ** ((j % 5) - 3)),
    ...Array.from({ length: columns }, (_, j) => [0, -3, 7, -130, 300][j % 5] as number),
  );

/** Scales that no power of 2 divides. */
export const thirds = (columns: number, size: number): Fill =>
  values(
    ...Array.from({ length: columns }, (_, j) => (size * (1 + (j % 7))) / 3),
    ...Array.from({ length: columns }, (_, j) => ((j * 5) % 9) - 4),
  );

export const listed = (list: readonly number[] | undefined): CaseTensor | null =>
  list ? input('i32', [list.length], values(...list)) : null;

export const codesOf = (rows: number, columns: number, bits: number): CaseTensor =>
  bits === 8 ? output('i8', [rows, columns]) : output('u8', [rows, columns / 2]);
