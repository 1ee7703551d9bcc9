import { dot, given, type Reference, rowOf, sizeOf } from './types';

/** Rotates the halves of each head by the angles of a position. */
export function rotate(row: Float64Array, dim: number, angles: Float64Array): Float64Array {
  const half = dim / 2;
  return Float64Array.from(row, (value, i) => {
    const within = i % dim;
    const [cos, sin] = [angles[within % half] as number, angles[half + (within % half)] as number];
    return within < half
      ? value * cos - (row[i + half] as number) * sin
      : value * cos + (row[i - half] as number) * sin;
  });
}

export const cacheAppend: Reference = (inputs) => {
  const [q, k, v] = ['q', 'k', 'v'].map((name) => given(inputs, name)) as [HostM, HostM, HostM];
  const keys = given(inputs, 'key_cache');
  const [, heads, pageSize, dim] = keys.shape as [number, number, number, number];
  const out = q.data.slice();
  const [keyCache, valueCache] = [keys.data.slice(), given(inputs, 'value_cache').data.slice()];
  const [rows, width] = sizeOf(q);
  for (let t = 0; t < rows; t++) {
    const slot = given(inputs, 'slots').data[t] as number;
    if (slot < 0) continue;
    const position = given(inputs, 'positions').data[t] as number;
    const angles = inputs.rope && rowOf(inputs.rope, position);
    const turn = (row: Float64Array) => (angles ? rotate(row, dim, angles) : row);
    out.set(turn(rowOf(q, t)), t * width);
    const [key, value] = [turn(rowOf(k, t)), rowOf(v, t)];
    for (let head = 0; head < heads; head++) {
      const page = Math.floor(slot / pageSize) * heads + head;
      const at = (page * pageSize + (slot % pageSize)) * dim;
      keyCache.set(key.subarray(head * dim, (head + 1) * dim), at);
      valueCache.set(value.subarray(head * dim, (head + 1) * dim), at);
    }
  }
  return { q: out, key_cache: keyCache, value_cache: valueCache };
};

type HostM = ReturnType<typeof given>;

export const attention: Reference = (inputs, { scale }) => {
  const q = given(inputs, 'q');
  const [rows, width] = sizeOf(q);
  const keys = given(inputs, 'key_cache');
  const [, kvHeads, pageSize, dim] = keys.shape as [number, number, number, number];
  const values = given(inputs, 'value_cache');
  const table = given(inputs, 'block_table');
  const group = width / dim / kvHeads;
  const out = new Float64Array(rows * width);
  for (let t = 0; t < rows; t++) {
    const position = given(inputs, 'positions').data[t] as number;
    if (position < 0) continue;
    const pages = rowOf(table, given(inputs, 'sequences').data[t] as number);
    for (let head = 0; head < width / dim; head++) {
      const kvHead = Math.floor(head / group);
      const entry = ({ data }: HostM, j: number) => {
        const page = pages[Math.floor(j / pageSize)] as number;
        const at = ((page * kvHeads + kvHead) * pageSize + (j % pageSize)) * dim;
        return data.subarray(at, at + dim);
      };
      const query = rowOf(q, t).subarray(head * dim, (head + 1) * dim);
      const scores = Array.from(
        { length: position + 1 },
        (_, j) => (scale as number) * dot(query, entry(keys, j)),
      );
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (const [j, weight] of weights.entries()) {
        const value = entry(values, j);
        for (let i = 0; i < dim; i++) {
          const at = t * width + head * dim + i;
          out[at] = (out[at] as number) + (weight / total) * (value[i] as number);
        }
      }
    }
  }
  return { out };
};

export const decodeAttention: Reference = (inputs, attrs) => {
  const appended = cacheAppend(inputs, {});
  const moved = (name: string): HostM => ({
    ...given(inputs, name),
    data: appended[name] as Float64Array,
  });
  const isPadding = (row: number) => (given(inputs, 'slots').data[row] as number) < 0;
  const positions = given(inputs, 'positions');
  const caches = { key_cache: moved('key_cache'), value_cache: moved('value_cache') };
  const attended = attention(
    {
      ...inputs,
      ...caches,
      q: moved('q'),
      positions: {
        ...positions,
        data: positions.data.map((position, row) => (isPadding(row) ? -1 : position)),
      },
    },
    attrs,
  );
  return {
    key_cache: caches.key_cache.data,
    value_cache: caches.value_cache.data,
    out: attended.out as Float64Array,
  };
};
