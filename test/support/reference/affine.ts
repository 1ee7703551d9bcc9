import { roundEven } from '../half';
import type { HostTensor } from '../host-tensor';
import { layerNorm, rmsNorm } from './elementwise';
import { planeShift } from './gptq';
import { given, type Inputs, type Reference, rowOf, sizeOf } from './types';

// Jest looks globals up through its sandbox, which is slow in a loop.
const { abs, exp, floor, fround, max, min, sqrt } = Math;

/**
 * The code of a value, as far as fp32 arithmetic before it leaves no doubt: a case whose values come
 * closer to a tie than `doubt` (relative) has no answer that every device must give.
 */
function codeOf(value: number, scale: number, zero: number, bits: number, doubt: number): number {
  if (Number.isNaN(value)) return 0;
  const steps = fround(value / scale);
  if (doubt && abs(abs(steps - floor(steps)) - 0.5) < doubt * (abs(steps) + 1)) {
    throw new Error(`${value} on a grid of ${scale} is too near a tie: choose other values`);
  }
  return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, roundEven(steps) + zero));
}

/** Rows in a new order, as codes where there is a grid. */
function written(rows: Float64Array[], inputs: Inputs, bits: number, doubt: number): Float64Array {
  const { order, grid } = inputs;
  return Float64Array.from(
    rows.flatMap((row) => {
      const places = order ? order.data : row.map((_, k) => k);
      const values = Array.from(places, (k) => row[k] as number);
      if (!grid) return values;
      const [scales, zeros] = [rowOf(grid, 0), rowOf(grid, 1)];
      const codes = values.map((value, j) =>
        codeOf(value, scales[j] as number, zeros[j] as number, bits, doubt),
      );
      if (bits === 8) return codes;
      const nibble = (j: number) => ((codes[j] as number) + 16) % 16;
      return Array.from(
        { length: codes.length / 2 },
        (_, i) => nibble(2 * i) + 16 * nibble(2 * i + 1),
      );
    }),
  );
}

const rowsOf = (tensor: HostTensor): Float64Array[] =>
  Array.from({ length: sizeOf(tensor)[0] }, (_, row) => rowOf(tensor, row));

export const normQuantize: Reference = (inputs, { centered, eps = 0, bits = 16 }) => {
  const { residual, out: y } = (centered ? layerNorm : rmsNorm)(inputs, { eps });
  const [rows, cols] = sizeOf(given(inputs, 'x'));
  const normed = Array.from({ length: rows }, (_, row) =>
    (y as Float64Array).subarray(row * cols, (row + 1) * cols),
  );
  return { ...(residual && { residual }), out: written(normed, inputs, bits, 2e-6) };
};

/** Blocks of `width` neighbours times Hadamard's matrix over the square root of width, in fp32. */
function rotated(row: Float64Array, width: number): Float64Array {
  let now = row;
  for (let half = 1; half < width; half *= 2) {
    const before = now;
    now = before.map((v, i) => {
      const other = before[i ^ half] as number;
      return fround(i & half ? other - v : v + other);
    });
  }
  return now.map((v) => fround(v * fround(1 / sqrt(width))));
}

export const affineQuantize: Reference = (inputs, { activation, bits = 8, rotation }) => {
  const { up } = inputs;
  const x = rowsOf(given(inputs, 'x'));
  const gate = (v: number): number => {
    if (activation === 1) return v / (1 + exp(-v));
    return activation === 2 ? fround(max(v, 0) ** 2) : v;
  };
  const values = up
    ? x.map((row, m) => row.map((v, k) => fround(gate(v) * (rowOf(up, m)[k] as number))))
    : x;
  const rows = rotation ? values.map((row) => rotated(row, rotation)) : values;
  // Without an exponential the arithmetic is the same everywhere, and ties are no doubt. A rotation
  // adds the errors of large values to small ones.
  const doubt = rotation ? 1e-5 : 1e-6;
  return { codes: written(rows, inputs, bits, activation === 1 ? doubt : 0) };
};

/** Where affine_codes.h puts the field of a position: its byte in a row, and its lowest bit there. */
function fieldAt(position: number, width: number): [byte: number, bit: number] {
  const chunk = floor(position / 128);
  const [i, h] = [floor(position / 32) % 4, floor(position / 16) % 2];
  const [t, j] = [floor(position / 4) % 4, position % 4];
  const fieldsInByte = 8 / width;
  const word = floor((2 * i + h) / fieldsInByte);
  return [chunk * 16 * width + t * 4 * width + word * 4 + j, ((2 * i + h) % fieldsInByte) * width];
}

function weightCode(plane: HostTensor, row: number, k: number, width: number): number {
  const [byte, bit] = fieldAt(k, width);
  return ((rowOf(plane, row)[byte] as number) >> bit) & (2 ** width - 1);
}

/** The code at a position of a row of planes, as gptq_layout.h lays them out. */
function gptqCode(plane: HostTensor, row: number, k: number, width: number): number {
  const perWord = 32 / width;
  const bit = planeShift(k % perWord, width);
  const byte = rowOf(plane, row)[floor(k / perWord) * 4 + floor(bit / 8)] as number;
  return (byte >> (bit % 8)) & (2 ** width - 1);
}

export const affineRepack: Reference = (inputs, { bits = 0, positions = 0 }) => {
  const repacked = (from: HostTensor, to: HostTensor, width: number): Float64Array => {
    const [rows, bytes] = sizeOf(to);
    const out = new Float64Array(rows * bytes);
    for (let row = 0; row < rows; row++) {
      for (let k = 0; k < positions; k++) {
        const [byte, bit] = fieldAt(k, width);
        const at = row * bytes + byte;
        const code = gptqCode(from, row, k, width) * 2 ** bit;
        out[at] = (out[at] as number) + code - (bits === 8 ? 128 : 0);
      }
    }
    return out;
  };
  const { high, out_high: outHigh } = inputs;
  const low = repacked(given(inputs, 'codes'), given(inputs, 'out_codes'), bits === 3 ? 2 : bits);
  return { out_codes: low, ...(high && outHigh && { out_high: repacked(high, outHigh, 1) }) };
};

/** Activations of 8 or 4 bits as whole numbers. */
function activationCode(x: HostTensor, row: number, k: number, bits: number): number {
  if (bits === 8) return rowOf(x, row)[k] as number;
  const nibble = ((rowOf(x, row)[floor(k / 2)] as number) >> ((k % 2) * 4)) & 15;
  return nibble < 8 ? nibble : nibble - 16;
}

export const linearAffine: Reference = (inputs, attrs) => {
  const { x_bits: xBits = 8, bits = 0, group_size: groupSize = 1, activation } = attrs;
  const { high, zeros, bias } = inputs;
  const x = given(inputs, 'x');
  const codes = given(inputs, 'codes');
  const scales = given(inputs, 'scales');
  const [m, n] = sizeOf(given(inputs, 'out'));
  const k = (sizeOf(x)[1] * 8) / xBits;
  const rows = Array.from({ length: m }, (_, i) =>
    Float64Array.from({ length: k }, (_, j) => activationCode(x, i, j, xBits)),
  );
  const out = new Float64Array(m * n);
  for (let j = 0; j < n; j++) {
    const weight = Float64Array.from({ length: k }, (_, p) => {
      const group = floor(p / groupSize);
      const scale = rowOf(scales, j)[group] as number;
      if (bits === 8) return scale * (rowOf(codes, j)[fieldAt(p, 8)[0]] as number);
      const low = weightCode(codes, j, p, bits === 3 ? 2 : bits);
      const code = low + (high ? 4 * weightCode(high, j, p, 1) : 0);
      return scale * (code - (rowOf(zeros as HostTensor, j)[group] as number));
    });
    for (const [i, row] of rows.entries()) {
      let sum = bias?.data[j] ?? 0;
      for (let p = 0; p < k; p++) sum += (row[p] as number) * (weight[p] as number);
      out[i * n + j] = activation && sum < 0 ? 0 : sum;
    }
  }
  return { out };
};
