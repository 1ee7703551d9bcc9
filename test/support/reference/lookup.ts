import { firstWord } from './philox';
import { fromRows, given, type Reference, rowOf, sizeOf } from './types';

export const embedding: Reference = (inputs, { offset, accumulate }) => {
  const table = given(inputs, 'table');
  const out = given(inputs, 'out');
  const { scales } = inputs;
  const [, width] = sizeOf(out);
  const entries = scales ? scales.data.length : sizeOf(table)[0];
  const rows = Array.from(given(inputs, 'ids').data, (id, t) => {
    const before = accumulate ? rowOf(out, t) : new Float64Array(width);
    const entry = id + (offset as number);
    if (id < 0 || entry >= entries) return before;
    const step = scales ? (scales.data[entry] as number) / 127 : 1;
    return before.map((value, i) => value + (rowOf(table, entry)[i] as number) * step);
  });
  return { out: fromRows(rows) };
};

export const gatherRows: Reference = (inputs) => {
  const x = given(inputs, 'x');
  const [, cols] = sizeOf(x);
  const picked = Array.from(given(inputs, 'rows').data, (row) =>
    row < 0 ? new Float64Array(cols) : rowOf(x, row),
  );
  return { out: fromRows(picked) };
};

export const gatherColumns: Reference = (inputs) => {
  const x = given(inputs, 'x');
  const [rows] = sizeOf(x);
  const picked = Array.from(given(inputs, 'columns').data, (column) =>
    Float64Array.from({ length: rows }, (_, row) => rowOf(x, row)[column] as number),
  );
  return { out: fromRows(picked) };
};

export const tokenNll: Reference = (inputs) => {
  const logits = given(inputs, 'logits');
  const out = given(inputs, 'targets').data.map((target, t) => {
    if (target < 0) return 0;
    const row = rowOf(logits, t);
    const largest = row.reduce((a, b) => Math.max(a, b));
    const sum = row.reduce((total, logit) => total + Math.exp(logit - largest), 0);
    return largest + Math.log(sum) - (row[target] as number);
  });
  return { out };
};

export const decodeAdvance: Reference = (inputs, { page_size }) => {
  const size = page_size as number;
  const table = given(inputs, 'block_table');
  const [, width] = sizeOf(table);
  const [ids, positions, slots, steps] = ['ids', 'positions', 'slots', 'steps'].map((name) =>
    given(inputs, name).data.slice(),
  ) as [Float64Array, Float64Array, Float64Array, Float64Array];
  for (let b = 0; b < ids.length; b++) {
    if ((positions[b] as number) < 0) continue;
    ids[b] = given(inputs, 'tokens').data[b] as number;
    const position = (positions[b] as number) + 1;
    positions[b] = position;
    steps[b] = (steps[b] as number) + 1;
    const page = Math.floor(position / size);
    const entry = page < width ? (rowOf(table, b)[page] as number) : -1;
    slots[b] = entry < 0 ? -1 : entry * size + (position % size);
  }
  return { ids, positions, slots, steps };
};

/** `out` says by its values before whether it is i8 (77) or float (NaN). */
export const fillRandom: Reference = (inputs, { seed, scale }) => {
  const out = given(inputs, 'out').data.map((before, i) => {
    const word = firstWord([BigInt(i), 0n, 0n, 0n], [BigInt(seed as number), 0n]);
    if (before === 77) return (word % 255) - 127;
    return (scale as number) * Math.sqrt(3) * ((2 * (word + 0.5)) / 2 ** 32 - 1);
  });
  return { out };
};
