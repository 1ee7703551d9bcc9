import { roundEven, rounded } from '../half';
import type { HostTensor } from '../host-tensor';
import { attention, rotate } from './attention';
import { keyRound } from './key-round';
import { given, type Inputs, type Reference, rowOf, sizeOf } from './types';

/** Bytes of a row of `dim` codes, and where each bit of each code lies in it. */
function places(
  dim: number,
  bits: number,
): { bytes: number; bitOf: (i: number, b: number) => number } {
  const planeBytes = (width: number) => Math.ceil(dim / (32 / width)) * 4;
  const at = (i: number, b: number, width: number): number => {
    const perWord = 32 / width;
    const within = i % perWord;
    return Math.floor(i / perWord) * 32 + (within % 4) * 8 + Math.floor(within / 4) * width + b;
  };
  if (bits !== 3) return { bytes: planeBytes(bits), bitOf: (i, b) => at(i, b, bits) };
  const low = planeBytes(2);
  const top = (i: number): number => {
    const [byte, row] = [i % 4, Math.floor((i % 32) / 4)];
    const nibble = byte * 8 + (Math.floor(row / 2) % 2) * 4;
    return low * 8 + Math.floor(i / 32) * 32 + nibble + Math.floor(row / 4) * 2 + (row % 2);
  };
  return {
    bytes: low + planeBytes(1),
    bitOf: (i, b) => (b < 2 ? at(i, b, 2) : top(i)),
  };
}

function pack(codes: readonly number[], bits: number): number[] {
  const { bytes, bitOf } = places(codes.length, bits);
  const row = new Array<number>(bytes).fill(0);
  for (const [i, code] of codes.entries()) {
    for (let b = 0; b < bits; b++) {
      const at = bitOf(i, b);
      row[at >> 3] = (row[at >> 3] as number) | (((code >> b) & 1) << (at & 7));
    }
  }
  return row;
}

/** Reads the codes of a row of packed ones. */
function unpacker(dim: number, bits: number): (row: ArrayLike<number>) => number[] {
  const { bitOf } = places(dim, bits);
  const at = Array.from({ length: dim }, (_, i) =>
    Array.from({ length: bits }, (_unused, b) => bitOf(i, b)),
  );
  return (row) =>
    at.map((own) =>
      own.reduce((code, bit, b) => code | ((((row[bit >> 3] as number) >> (bit & 7)) & 1) << b), 0),
    );
}

const clamp = (code: number, bits: number) => Math.min(Math.max(code, 0), 2 ** bits - 1);

export const cacheAppendQuantized: Reference = (inputs, { bits }) => {
  const width = bits as number;
  const q = given(inputs, 'q');
  const outputs: Record<string, Float64Array> = { q: q.data.slice() };
  const [rows, columns] = sizeOf(q);
  const [, heads, pageSize, rowBytes] = given(inputs, 'key_cache').shape as number[] as [
    number,
    number,
    number,
    number,
  ];
  const dim = sizeOf(given(inputs, 'k'))[1] / heads;
  const anglesOf = (t: number) =>
    inputs.rope && rowOf(inputs.rope, given(inputs, 'positions').data[t] as number);
  for (const [side, source] of [
    ['key', 'k'],
    ['value', 'v'],
  ] as const) {
    const cache = given(inputs, `${side}_cache`).data.slice();
    const scales = inputs[`${side}_scales`]?.data.slice();
    const grid = inputs[`${side}_grid`];
    for (let t = 0; t < rows; t++) {
      const slot = given(inputs, 'slots').data[t] as number;
      if (slot < 0) continue;
      const angles = anglesOf(t);
      const plain = rowOf(given(inputs, source), t);
      const x = angles && side === 'key' ? rotate(plain, dim, angles) : plain;
      if (angles) outputs.q?.set(rotate(rowOf(q, t), dim, angles), t * columns);
      for (let head = 0; head < heads; head++) {
        const own = x.subarray(head * dim, (head + 1) * dim);
        const place = (Math.floor(slot / pageSize) * heads + head) * pageSize + (slot % pageSize);
        let codes: number[];
        if (grid) {
          const [s, z] = [rowOf(grid, 0), rowOf(grid, 1)];
          codes = Array.from(own, (value, i) => {
            const c = head * dim + i;
            return clamp(roundEven(value / (s[c] as number)) + (z[c] as number), width);
          });
        } else {
          const least = Math.min(...own);
          const scale = rounded((Math.max(...own) - least) / (2 ** width - 1), 'f16');
          const smallest = rounded(least, 'f16');
          scales?.set([scale, smallest], 2 * place);
          codes = Array.from(own, (value) =>
            scale > 0 ? clamp(roundEven((value - smallest) / scale), width) : 0,
          );
        }
        cache.set(pack(codes, width), place * rowBytes);
      }
    }
    outputs[`${side}_cache`] = cache;
    if (scales) outputs[`${side}_scales`] = scales;
  }
  return outputs;
};

/** The values that the codes of a cache stand for. */
function decoded(inputs: Inputs, side: 'key' | 'value', dim: number, bits: number): HostTensor {
  const cache = given(inputs, `${side}_cache`);
  const [pages, heads, pageSize, rowBytes] = cache.shape as [number, number, number, number];
  const grid = inputs[`${side}_grid`];
  const scales = inputs[`${side}_scales`];
  const data = new Float64Array(pages * heads * pageSize * dim);
  const unpack = unpacker(dim, bits);
  const [steps, zeros] = grid ? [rowOf(grid, 0), rowOf(grid, 1)] : [];
  for (let place = 0; place < pages * heads * pageSize; place++) {
    const head = Math.floor(place / pageSize) % heads;
    const [scale, smallest] = [scales?.data[2 * place], scales?.data[2 * place + 1]];
    const codes = unpack(cache.data.subarray(place * rowBytes, (place + 1) * rowBytes));
    for (const [i, code] of codes.entries()) {
      const c = head * dim + i;
      data[place * dim + i] = steps
        ? (steps[c] as number) * (code - (zeros?.[c] as number))
        : (scale as number) * code + (smallest as number);
    }
  }
  return { shape: [pages, heads, pageSize, dim], data };
}

/** Queries rounded onto their grid. */
function onGrid(q: HostTensor, grid: HostTensor, bits: number): HostTensor {
  const [, columns] = sizeOf(q);
  const [steps, zeros] = [rowOf(grid, 0), rowOf(grid, 1)];
  const data = q.data.map((value, i) => {
    const [step, zero] = [steps[i % columns] as number, zeros[i % columns] as number];
    return step * (clamp(roundEven(value / step) + zero, bits) - zero);
  });
  return { shape: q.shape, data };
}

export const attentionQuantized: Reference = (inputs, attrs) => {
  const [dim, bits] = [attrs.head_dim as number, attrs.bits as number];
  const q = given(inputs, 'q');
  const grid = inputs.query_grid;
  const plain = {
    ...inputs,
    q: grid ? onGrid(q, grid, attrs.query_bits as number) : q,
    key_cache: decoded(inputs, 'key', dim, bits),
    value_cache: decoded(inputs, 'value', dim, bits),
  };
  return attention(plain, attrs);
};

/** Where the block table has the key of each row; -1 for padding. */
function slotsOf(inputs: Inputs, pageSize: number): Float64Array {
  const { data } = given(inputs, 'positions');
  return data.map((position, row) => {
    if (position < 0) return -1;
    const pages = rowOf(
      given(inputs, 'block_table'),
      given(inputs, 'sequences').data[row] as number,
    );
    const page = pages[Math.floor(position / pageSize)] ?? -1;
    return page < 0 ? -1 : page * pageSize + (position % pageSize);
  });
}

export const decodeAttentionQuantized: Reference = (inputs, attrs) => {
  const [, heads, pageSize] = given(inputs, 'key_cache').shape as [number, number, number];
  const positions = given(inputs, 'positions');
  const slots = { ...positions, data: slotsOf(inputs, pageSize) };
  const known = positions.data.map((position, t) =>
    (slots.data[t] as number) < 0 ? -1 : position,
  );
  const replaced = (name: string, values: Record<string, Float64Array>): HostTensor => ({
    ...given(inputs, name),
    data: values[name] as Float64Array,
  });
  const { feedback, key_grid } = inputs;
  let turned = inputs;
  if (feedback && key_grid) {
    const round = keyRound(
      { ...inputs, grid: key_grid, positions: { ...positions, data: known } },
      attrs,
    );
    const { rope: _, ...rest } = inputs;
    turned = { ...rest, q: replaced('q', round), k: replaced('k', round) };
  }
  const { q, ...written } = cacheAppendQuantized({ ...turned, slots }, attrs);
  const caches = Object.fromEntries(
    Object.keys(written).map((name) => [name, replaced(name, written)]),
  );
  const attended = attentionQuantized(
    {
      ...inputs,
      ...caches,
      q: { ...given(inputs, 'q'), data: q as Float64Array },
      positions: { ...positions, data: known },
    },
    { ...attrs, head_dim: sizeOf(given(inputs, 'k'))[1] / heads },
  );
  return { ...written, out: attended.out as Float64Array };
};
