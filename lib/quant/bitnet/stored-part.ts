import type { StoredTensor } from '../../nn/module';
import { storedTensor } from '../../nn/parameter';
import type { BitnetWeight } from '../../ops';
import { packQuarters } from './pack';

/** Upper half of a float32's bits, when that is all of it. */
function asBfloat16(value: number): number | undefined {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0] as number;
  return (bits & 0xffff) === 0 ? bits >>> 16 : undefined;
}

/**
 * A layer as transformers' AutoBitLinear stores it: `weight` u8[N / 4, K], `weight_scale` (gamma) in
 * bf16 where that is exact (as in the published files) and else in f32, and a `bias` that is
 * multiplied by gamma when it is read.
 */
export function storedPart(
  name: string,
  { codes, bias }: BitnetWeight,
  layer: { rows: { begin: number; end: number }; inFeatures: number; gamma: number },
): StoredTensor[] {
  const { rows, inFeatures, gamma } = layer;
  const count = rows.end - rows.begin;
  const short = asBfloat16(gamma);
  const stored = storedTensor(`${name}.weight`, codes, rows);
  return [
    {
      name: `${name}.weight`,
      dtype: 'u8',
      shape: [Math.ceil(count / 4), inFeatures],
      read: async () => packQuarters(name, (await stored.read()) as Uint8Array, inFeatures),
    },
    {
      name: `${name}.weight_scale`,
      dtype: short === undefined ? 'f32' : 'bf16',
      shape: [1],
      read: async () => (short === undefined ? Float32Array.of(gamma) : Uint16Array.of(short)),
    },
    ...(bias
      ? [
          {
            name: `${name}.bias`,
            dtype: 'f32' as const,
            shape: [count],
            async read() {
              using own = bias.rows(rows.begin, rows.end);
              return own.readFloats().map((value) => value / gamma);
            },
          },
        ]
      : []),
  ];
}
