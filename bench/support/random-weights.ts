import { randomFillSync } from 'node:crypto';
import { type Device, type DType, ops, type Tensor } from 'fewbit';
import type { LinearShape } from './shapes';

/** Deviation of 16-bit weights. */
const DEVIATION = 0.02;

/** Normal noise on a device. */
export function noise(
  device: Device,
  dtype: DType,
  shape: number[],
  seed: number,
  deviation = DEVIATION,
): Tensor {
  return ops.fillRandom(device.allocate(dtype, shape), seed, deviation);
}

/** Noise in int8, with the scales of its rows. */
export function int8Weight(
  device: Device,
  dtype: DType,
  { n, k }: LinearShape,
  seed: number,
): ops.Int8Weight {
  const original = noise(device, dtype, [n, k], seed);
  const codes = device.allocate('i8', [ops.alignInt8(n), ops.alignInt8(k)]);
  const scales = device.allocate('f32', [n]);
  const unused = undefined;
  device.run('int8_quantize', [original, codes, scales, unused, unused, unused], [0, 0]);
  original.dispose();
  return { codes, scales };
}

/** Ternary weights of noise, and a scale per row. */
export function bitnetWeight(
  device: Device,
  dtype: DType,
  { n, k }: LinearShape,
  seed: number,
): ops.BitnetWeight {
  const original = noise(device, dtype, [n, k], seed);
  const gamma = device.allocate('f32', [1]);
  const codes = device.allocate('u8', [n, ops.bitnetRowBytes(k)]);
  device.run('bitnet_absmean', [original, gamma]);
  device.run('bitnet_ternarize', [original, gamma, codes]);
  const scales = device.from('f32', [n], new Float32Array(n).fill(DEVIATION));
  for (const tensor of [original, gamma]) tensor.dispose();
  return { codes, scales };
}

/** Random codes, zero points and scales; `groupSize` -1 for whole rows. */
export function gptqWeight(
  device: Device,
  dtype: DType,
  { n, k }: LinearShape,
  { bits, groupSize: size }: { bits: ops.GptqBits; groupSize: number },
  seed: number,
): ops.GptqWeight {
  const groupSize = size === -1 ? k : size;
  const groups = Math.ceil(k / groupSize);
  const plane = (width: number): Tensor =>
    randomBytes(device, [n, ops.gptqPlaneBytes(k, width)], 255);
  return {
    bits,
    groupSize,
    codes: plane(ops.gptqLowWidth(bits)),
    high: bits === 3 ? plane(1) : undefined,
    scales: noise(device, dtype, [n, groups], seed, DEVIATION / 2 ** (bits - 1)),
    zeros: randomBytes(device, [n, groups], 2 ** bits - 1),
  };
}

/** Random codes for `linearAffine`, made as a checkpoint's are: from those of a GPTQ weight. */
export function affineWeight(
  device: Device,
  dtype: DType,
  shape: LinearShape,
  { bits, groupSize }: { bits: ops.AffineWeightBits; groupSize: number },
  seed: number,
): ops.AffineWeight {
  const { codes, high, zeros, ...rest } = gptqWeight(
    device,
    dtype,
    shape,
    { bits, groupSize },
    seed,
  );
  const planes = ops.affineRepack({ codes, high }, { bits, positions: shape.k });
  for (const tensor of bits === 8 ? [codes, zeros] : [codes, high]) tensor?.dispose();
  return { ...rest, ...planes, bits, zeros: bits === 8 ? undefined : zeros };
}

/** The same bytes for every weight: only where they lie makes a difference. */
let block = new Uint8Array(0);

function randomBytes(device: Device, shape: [number, number], most: number): Tensor {
  const count = shape[0] * shape[1];
  if (block.length < count) block = randomFillSync(new Uint8Array(count));
  const bytes = block.subarray(0, count);
  return device.from('u8', shape, most === 255 ? bytes : bytes.map((byte) => byte & most));
}
