import { roundEven, toHalf } from '../half';
import { given, type Reference, rowOf, sizeOf } from './types';

// Jest looks globals up through its sandbox, which is slow in a loop.
const { abs, fround: round32, max, min, sqrt } = Math;
const half = (value: number) => toHalf(round32(value)).value;

/** Codes follow the fp32 arithmetic of the declaration to the bit. */
export const int8Quantize: Reference = (inputs, { threshold, mode }) => {
  const x = given(inputs, 'x');
  const [rows, cols] = sizeOf(x);
  const limit = threshold ? round32(threshold) : Infinity;
  const isOutlier = (value: number) => Boolean(threshold) && abs(value) >= limit;
  const columns = [...Array(cols).keys()].filter((k) =>
    Array.from({ length: rows }, (_, row) => x.data[row * cols + k] as number).some(isOutlier),
  );
  const split = new Set(columns);
  const [, width] = sizeOf(given(inputs, 'codes'));
  const codes = new Float64Array(rows * width);
  const scales = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    const values = rowOf(x, row);
    // A NaN that is in no outlier column (paper), or anywhere (bitsandbytes), spoils its row.
    const counted = values.filter((value, k) => (mode ? !isOutlier(value) : !split.has(k)));
    let absmax = counted.reduce((most, value) => max(most, abs(value)), 0);
    if (!Number.isFinite(absmax)) absmax = Number.NaN;
    scales[row] = absmax;
    if (absmax === 0 || Number.isNaN(absmax)) continue;
    const factor = round32(127 / absmax);
    for (let k = 0; k < cols; k++) {
      if (split.has(k)) continue;
      const code = roundEven(round32((values[k] as number) * factor));
      codes[row * width + k] = max(-127, min(127, code));
    }
  }
  const stats = given(inputs, 'stats').data.slice();
  stats[0] = (stats[0] as number) + rows * (cols - columns.length);
  stats[1] = (stats[1] as number) + rows * cols;
  const found = { columns: Float64Array.from(columns), count: Float64Array.of(columns.length) };
  return { codes, scales, ...(threshold ? found : {}), stats } as Record<string, Float64Array>;
};

export const linearInt8: Reference = (inputs, { mode, activation }) => {
  const codes = given(inputs, 'codes');
  const weight = given(inputs, 'weight');
  const { data: scales } = given(inputs, 'scales');
  const { data: weightScales } = given(inputs, 'weight_scales');
  const { x, kept, kept_slots: slots } = inputs;
  const [m, n] = sizeOf(given(inputs, 'out'));
  const [, depth] = sizeOf(codes);
  const outliers = inputs.columns?.data.subarray(0, given(inputs, 'count').data[0]) ?? [];
  const wide = (row: number, column: number) => {
    const slot = mode || !kept ? -1 : (slots?.data[column] as number);
    if (slot >= 0 && kept) return rowOf(kept, slot)[row] as number;
    const value = ((rowOf(weight, row)[column] as number) * (weightScales[row] as number)) / 127;
    return mode ? half(value) : value;
  };
  const rows = Array.from({ length: n }, (_, j) => rowOf(weight, j));
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    const [a, row] = [rowOf(codes, i), x && rowOf(x, i)];
    for (let j = 0; j < n; j++) {
      const b = rows[j] as Float64Array;
      let sum = 0;
      for (let k = 0; k < depth; k++) sum += (a[k] as number) * (b[k] as number);
      let y = (sum * (scales[i] as number) * (weightScales[j] as number)) / 127 ** 2;
      y += inputs.bias?.data[j] ?? 0;
      if (mode) y = half(y);
      for (const k of outliers) {
        const value = row?.[k] as number;
        y += (mode ? half(value) : value) * wide(j, k);
      }
      if (mode && outliers.length > 0) y = half(y);
      out[i * n + j] = activation && y < 0 ? 0 : y;
    }
  }
  return { out };
};

export const int8ColumnError: Reference = (inputs) => {
  const weight = given(inputs, 'weight');
  const [rows, cols] = sizeOf(weight);
  const codes = given(inputs, 'codes');
  const [, width] = sizeOf(codes);
  const out = Float64Array.from({ length: cols }, (_, k) => {
    let [error, power] = [0, 0];
    for (let row = 0; row < rows; row++) {
      const value = weight.data[row * cols + k] as number;
      const code = codes.data[row * width + k] as number;
      error += (value - (code * (given(inputs, 'scales').data[row] as number)) / 127) ** 2;
      power += value ** 2;
    }
    return power === 0 ? 0 : sqrt(error / power);
  });
  return { out };
};
