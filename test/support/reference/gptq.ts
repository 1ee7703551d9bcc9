import type { HostTensor } from '../host-tensor';
import { plainFactor, plainQuantize } from './gptq-quantizer';
import { fromRows, given, type Reference, rowOf, sizeOf } from './types';

// Jest looks globals up through its sandbox, which is slow in a loop.
const { floor } = Math;

/** Code `index` of a stream of bits, one bit after the other. */
function codeAt(bit: (index: number) => number, index: number, bits: number): number {
  let code = 0;
  for (let i = 0; i < bits; i++) code += bit(index * bits + i) * 2 ** i;
  return code;
}

function bitsOf(word: (index: number) => number): (index: number) => number {
  return (index) => (word(floor(index / 32)) >>> (index % 32)) & 1;
}

/** Where the top bits of the even positions of a word lie, of the odd ones 16 higher: a table by hand. */
const TOP_BITS = [2, 3, 6, 7, 10, 11, 14, 15, 1, 0, 5, 4, 9, 8, 13, 12];

/** How far left a field lies in its word: even positions from bit 0 up, odd ones from bit 16 up. */
export function planeShift(index: number, width: number): number {
  const pair = floor(index / 2);
  return (index % 2) * 16 + (width === 1 ? (TOP_BITS[pair] as number) : pair * width);
}

/** Bytes of a plane. */
function plane(rows: Float64Array[], width: number, field: (code: number) => number): Float64Array {
  const perWord = 32 / width;
  const bytes: number[] = [];
  for (const row of rows) {
    const words = new Uint32Array((Math.ceil(row.length / 32) * 32) / perWord);
    for (const [p, code] of row.entries()) {
      const shift = planeShift(p % perWord, width);
      words[floor(p / perWord)] =
        ((words[floor(p / perWord)] as number) | (field(code) << shift)) >>> 0;
    }
    bytes.push(...new Uint8Array(words.buffer));
  }
  return Float64Array.from(bytes);
}

export const gptqRepack: Reference = (inputs, { bits = 0, v1 }) => {
  const qweight = given(inputs, 'qweight');
  const qzeros = given(inputs, 'qzeros');
  const scales = given(inputs, 'scales');
  const [words, n] = sizeOf(qweight);
  const [g] = sizeOf(scales);
  const [, zeroWords] = sizeOf(qzeros);
  const order =
    inputs.order?.data ?? Float64Array.from({ length: (words * 32) / bits }, (_, i) => i);
  const groups = inputs.groups?.data ?? Float64Array.from({ length: g }, (_, i) => i);
  const rows = Array.from({ length: n }, (_, col) => {
    const bit = bitsOf((word) => qweight.data[word * n + col] as number);
    return order.map((input) => (input < 0 ? 0 : codeAt(bit, input, bits)));
  });
  let ones = 0;
  for (let shift = 0; shift < 32; shift += bits) ones += 2 ** shift;
  const zeros: number[] = [];
  const outScales: number[] = [];
  for (let col = 0; col < n; col++) {
    for (const group of groups) {
      const stored = (word: number) => qzeros.data[group * zeroWords + word] as number;
      // Widths that divide 32 add whole words, so that carries go from field to field.
      const whole = v1 && bits !== 3;
      const field = codeAt(
        bitsOf((i) => (stored(i) + (whole ? ones : 0)) | 0),
        col,
        bits,
      );
      zeros.push((field + (v1 && !whole ? 1 : 0)) % 2 ** bits);
      outScales.push(scales.data[group * n + col] as number);
    }
  }
  return {
    codes: plane(rows, bits === 3 ? 2 : bits, (code) => (bits === 3 ? code & 3 : code)),
    ...(bits === 3 ? { high: plane(rows, 1, (code) => code >> 2) } : {}),
    zeros: Float64Array.from(zeros),
    out_scales: Float64Array.from(outScales),
  };
};

/** Field of a plane at a position, from its bytes. */
function fieldAt({ data, shape }: HostTensor, row: number, p: number, width: number): number {
  const perWord = 32 / width;
  const bit = planeShift(p % perWord, width);
  const byte = floor(p / perWord) * 4 + floor(bit / 8);
  return ((data[row * (shape[1] as number) + byte] as number) >> (bit % 8)) & (2 ** width - 1);
}

export const linearGptq: Reference = (inputs, attrs) => {
  const { bits = 0, group_size: groupSize = 1, activation } = attrs;
  const x = given(inputs, 'x');
  const codes = given(inputs, 'codes');
  const scales = given(inputs, 'scales');
  const zeros = given(inputs, 'zeros');
  const [m, n] = sizeOf(given(inputs, 'out'));
  const [, k] = sizeOf(x);
  const [, groups] = sizeOf(scales);
  const order = inputs.order?.data ?? Float64Array.from({ length: k }, (_, i) => i);
  const out = new Float64Array(m * n);
  for (let j = 0; j < n; j++) {
    const weight = order.map((_, p) => {
      const group = j * groups + floor(p / groupSize);
      const low = fieldAt(codes, j, p, bits === 3 ? 2 : bits);
      const code = low + (inputs.high ? 4 * fieldAt(inputs.high, j, p, 1) : 0);
      return (scales.data[group] as number) * (code - (zeros.data[group] as number));
    });
    for (let i = 0; i < m; i++) {
      let sum = inputs.bias?.data[j] ?? 0;
      for (let p = 0; p < order.length; p++) {
        const input = order[p] as number;
        if (input >= 0) sum += (x.data[i * k + input] as number) * (weight[p] as number);
      }
      out[i * n + j] = activation && sum < 0 ? 0 : sum;
    }
  }
  return { out };
};

export const gptqHessian: Reference = (inputs, { keep = 0, scale = 0 }) => {
  const x = given(inputs, 'x');
  const h = given(inputs, 'h');
  const [rows, k] = sizeOf(x);
  const out = h.data.map((value) => value * keep);
  for (let row = 0; row < rows; row++) {
    const values = rowOf(x, row);
    for (let i = 0; i < k * k; i++) {
      const product = (values[floor(i / k)] as number) * (values[i % k] as number);
      out[i] = (out[i] as number) + scale * product;
    }
  }
  return { h: out };
};

const rowsOf = (tensor: HostTensor): number[][] =>
  Array.from({ length: sizeOf(tensor)[0] }, (_, row) => Array.from(rowOf(tensor, row)));

export const gptqFactor: Reference = (inputs, attrs) => {
  const { ordering = 0, group_size: size = 1, damp = 0 } = attrs;
  const { u, order, dead } = plainFactor(rowsOf(given(inputs, 'h')), { damp, ordering, size });
  return {
    factor: fromRows(u),
    order: Float64Array.from(order),
    dead: Float64Array.from(dead, Number),
    used: Float64Array.of(damp),
  };
};

export const gptqQuantize: Reference = (inputs, attrs) => {
  const { bits = 0, group_size: groupSize = 0, sym, grouping = 0, mse = 0 } = attrs;
  const weight = rowsOf(given(inputs, 'w'));
  const columns = Array.from((weight[0] as number[]).keys());
  const factor = {
    u: inputs.factor
      ? rowsOf(inputs.factor)
      : columns.map((i) => columns.map((j) => (i === j ? 1 : 0))),
    order: Array.from(inputs.order?.data ?? columns),
    dead: columns.map((i) => inputs.dead?.data[i] === 1),
  };
  const options = { bits, groupSize, sym: sym === 1, grouping, mse };
  const { codes, scales, zeros, loss, order } = plainQuantize(weight, factor, options);
  const size = groupSize || columns.length;
  const values = codes.map((row, n) =>
    row.map((code, column) => {
      const at = grouping === 0 ? order.indexOf(column) : column;
      const group = floor(at / size);
      const [scale, zero] = [scales[n]?.[group], zeros[n]?.[group]] as [number, number];
      return scale * (code - zero);
    }),
  );
  return {
    w: fromRows(values),
    codes: fromRows(codes),
    scales: fromRows(scales),
    zeros: fromRows(zeros),
    loss: Float64Array.from(loss),
  };
};
