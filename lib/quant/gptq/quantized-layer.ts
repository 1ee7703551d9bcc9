import type { Device } from '../../device';
import type { StoredTensor } from '../../nn/module';
import { cast, type GptqFactor, gptqQuantize } from '../../ops';
import type { Tensor } from '../../tensor';
import type { GptqLayerConfig } from './checkpoint-config';
import type { GptqConfig } from './config';
import { packZeros, type ZeroFormat } from './pack';
import { packWeight } from './pack-weight';

/** One quantized layer on the host. */
export interface QuantizedLayer<Scales extends Uint16Array | Float32Array = Uint16Array>
  extends GptqLayerConfig {
  /** u8[N, K], by input column. */
  codes: Uint8Array;
  /** f32[N, G], or the bits of f16[N, G]. */
  scales: Scales;
  /** u8[N, G]. */
  zeros: Uint8Array;
  /** i32[K]: the group of each input column. */
  groupOf: Int32Array;
  outFeatures: number;
  /** Mean over outputs of what rounding costs, as the algorithm counts it. */
  loss: number;
  /** The damping that was needed: more than asked for, or -1 where no Hessian could be used. */
  damp: number;
}

/** Whether codes of a layer fill 32-bit words along both axes, in every program's packing. */
export function isPackable(inFeatures: number, outFeatures: number): boolean {
  return inFeatures % 32 === 0 && outFeatures % 32 === 0;
}

/** Quantizes a weight f32[N, K], which becomes the dequantized one. Scales are rounded to f16. */
export function quantizeLayer(
  w: Tensor,
  factor: GptqFactor | undefined,
  layer: GptqLayerConfig,
  how: Pick<GptqConfig, 'grouping' | 'mse'>,
): QuantizedLayer {
  const { scales, ...rest } = quantizeExactly(w, factor, layer, how);
  return { ...rest, scales: halves(w.device, scales) };
}

/** The same with the scales as they come out. */
export function quantizeExactly(
  w: Tensor,
  factor: GptqFactor | undefined,
  layer: GptqLayerConfig,
  { grouping, mse }: Pick<GptqConfig, 'grouping' | 'mse'>,
): QuantizedLayer<Float32Array> {
  const [n, k] = w.shape as unknown as [number, number];
  const groupSize = layer.groupSize === -1 ? undefined : layer.groupSize;
  const result = gptqQuantize(w, factor, { ...layer, groupSize, grouping, mse });
  const losses = result.loss.read() as Float32Array;
  return {
    ...layer,
    codes: result.codes.read() as Uint8Array,
    scales: result.scales.read() as Float32Array,
    zeros: result.zeros.read() as Uint8Array,
    groupOf: groupsOf(k, groupSize ?? k, grouping === 'by-position' ? factor : undefined),
    outFeatures: n,
    loss: losses.reduce((sum, value) => sum + value, 0) / n,
    damp: factor ? ((factor.used.read() as Float32Array)[0] as number) : -1,
  };
}

function halves(device: Device, values: Float32Array): Uint16Array {
  const exact = device.empty('f32', [values.length]).write(values);
  return cast(exact, 'f16').read() as Uint16Array;
}

/** Groups follow the order of the columns only where they are made in it. */
function groupsOf(k: number, groupSize: number, factor: GptqFactor | undefined): Int32Array {
  const order = factor
    ? (factor.order.read() as Int32Array)
    : Int32Array.from({ length: k }, (_, i) => i);
  const groups = new Int32Array(k);
  for (const [position, column] of order.entries()) {
    groups[column] = Math.floor(position / groupSize);
  }
  return groups;
}

/** The tensors of a layer as a checkpoint has them, but for its bias. */
export function layerTensors(
  name: string,
  layer: QuantizedLayer,
  format: ZeroFormat,
): StoredTensor[] {
  const { groupOf } = layer;
  const groups: StoredTensor = {
    name: `${name}.g_idx`,
    dtype: 'i32',
    shape: [groupOf.length],
    read: async () => groupOf,
  };
  return [...weightTensors(name, layer, format), groups];
}

/** The same without the groups of the columns. */
export function weightTensors(
  name: string,
  layer: QuantizedLayer | QuantizedLayer<Float32Array>,
  format: ZeroFormat,
): StoredTensor[] {
  const { bits, codes, scales, zeros, groupOf, outFeatures: n } = layer;
  const k = groupOf.length;
  const g = zeros.length / n;
  const tensor = (
    suffix: string,
    dtype: 'i32' | 'f16' | 'f32',
    shape: number[],
    read: () => ArrayBufferView,
  ): StoredTensor => ({ name: `${name}.${suffix}`, dtype, shape, read: async () => read() });
  return [
    tensor('qweight', 'i32', [(k * bits) / 32, n], () => packWeight(codes, n, bits)),
    tensor('qzeros', 'i32', [g, (n * bits) / 32], () =>
      packZeros(transposed(zeros, n), bits, format),
    ),
    tensor('scales', scales instanceof Float32Array ? 'f32' : 'f16', [g, n], () =>
      transposed<Float32Array | Uint16Array>(scales, n),
    ),
  ];
}

/** [rows, cols] to [cols, rows]. */
export function transposed<T extends Uint8Array | Uint16Array | Float32Array>(
  values: T,
  rows: number,
): T {
  const cols = values.length / rows;
  const out = values.slice() as T;
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      out[col * rows + row] = values[row * cols + col] as number;
    }
  }
  return out;
}
