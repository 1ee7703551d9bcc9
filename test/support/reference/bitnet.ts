import { packTernary, unpackTernary } from '../bitnet';
import { roundEven } from '../half';
import { dot, given, type Inputs, type Reference, rowOf, sizeOf } from './types';

// Jest looks globals up through its sandbox, which is slow in a loop.
const { abs, exp, fround: round32, max, min, sqrt } = Math;

const GATES: readonly ((value: number) => number)[] = [
  (value) => value,
  (value) => value / (1 + exp(-value)),
  (value) => round32(max(value, 0) ** 2),
];

/** The row that is normalised: fp32 to the bit, but for silu, which no two programs agree on. */
function rowBefore(inputs: Inputs, row: number, activation: number): Float64Array {
  const { up } = inputs;
  const x = rowOf(given(inputs, 'x'), row);
  const gate = GATES[activation] as (value: number) => number;
  if (!up) return x;
  const other = rowOf(up, row);
  return x.map((value, k) => round32(gate(value) * (other[k] as number)));
}

/** Codes follow the fp32 arithmetic of the declaration to the bit. */
export const bitnetQuantize: Reference = (inputs, attrs) => {
  const { activation, eps } = attrs as { activation: number; eps: number };
  const { weight } = inputs;
  const [rows, cols] = sizeOf(given(inputs, 'x'));
  const [height, width] = sizeOf(given(inputs, 'codes'));
  const codes = given(inputs, 'codes').data.slice();
  const scales = given(inputs, 'scales').data.slice();
  const sums = given(inputs, 'sums').data.slice();
  expect(height).toBe(rows);
  const values = Array.from({ length: rows }, (_, row) => rowBefore(inputs, row, activation));
  for (const [row, value] of values.entries()) {
    const root = weight ? sqrt(dot(value, value) / cols + eps) : 1;
    const scaled = weight ? value.map((v, k) => round32(v * (weight.data[k] as number))) : value;
    const found = scaled.reduce((most, v) => max(most, abs(v)), 0);
    const finite = Number.isFinite(found) && root < 3.5e38;
    const largest = round32(max(found, 1e-5 * root));
    const factor = round32(127 * round32(1 / largest));
    const own = new Float64Array(width);
    for (let k = 0; finite && k < cols; k++) {
      own[k] = max(-127, min(127, roundEven(round32((scaled[k] as number) * factor))));
    }
    codes.set(own, row * width);
    scales[row] = finite ? largest / (127 * root) : Number.NaN;
    sums[row] = own.reduce((sum, code) => sum + code, 0);
  }
  return { codes, scales, sums };
};

export const linearBitnet: Reference = (inputs, { activation }) => {
  const codes = given(inputs, 'codes');
  const { data: scales } = given(inputs, 'scales');
  const { data: weightScales } = given(inputs, 'weight_scales');
  const [m, n] = sizeOf(given(inputs, 'out'));
  const [, depth] = sizeOf(codes);
  const ternary = unpackTernary(given(inputs, 'weight').data, depth);
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    const row = rowOf(codes, i);
    for (let j = 0; j < n; j++) {
      let sum = 0;
      const begin = j * depth;
      for (let k = 0; k < depth; k++) sum += (row[k] as number) * (ternary[begin + k] as number);
      const y = sum * (scales[i] as number) * (weightScales[j] as number);
      const value = y + (inputs.bias?.data[j] ?? 0);
      const active = activation && value < 0 ? 0 : value;
      out[i * n + j] = active + (inputs.residual?.data[i * n + j] ?? 0);
    }
  }
  return { out };
};

export const bitnetRepack: Reference = (inputs) => {
  const packed = given(inputs, 'packed');
  const [quarter, k] = sizeOf(packed);
  let invalid = given(inputs, 'invalid').data[0] as number;
  const ternary = Array.from({ length: 4 * quarter * k }, (_, at) => {
    const [row, column] = [Math.floor(at / k), at % k];
    const byte = packed.data[(row % quarter) * k + column] as number;
    const code = (byte >> (2 * Math.floor(row / quarter))) & 3;
    if (code === 3) invalid++;
    return code === 3 ? 0 : code - 1;
  });
  const weight = Float64Array.from(packTernary(ternary, k));
  return { weight, invalid: Float64Array.of(invalid) };
};

export const bitnetAbsmean: Reference = (inputs) => {
  const { data } = given(inputs, 'w');
  const mean = data.reduce((sum, value) => sum + abs(value), 0) / data.length;
  return { gamma: Float64Array.of(max(mean, 1e-5)) };
};

export const bitnetTernarize: Reference = (inputs) => {
  const w = given(inputs, 'w');
  const factor = round32(1 / (given(inputs, 'gamma').data[0] as number));
  const ternary = w.data.map((value) => {
    const scaled = round32(value * factor);
    return Number.isNaN(scaled) ? 0 : max(-1, min(1, roundEven(scaled)));
  });
  return { weight: Float64Array.from(packTernary(ternary, sizeOf(w)[1])) };
};
