import type { StoredTensor } from '../../nn/module';
import { type QuantizedLayer, weightTensors } from '../gptq/quantized-layer';
import type { AffineGrid } from './affine';
import type { LinearDesign } from './layer-design';

/**
 * The tensors of a quantized linear layer; docs/rptq.md describes them.
 * @param layer codes by place in the input's order, rows in the original one
 * @param bias f32[N] that takes in the inputs' zero points, rows in the original order, too
 */
export function layerTensors(
  name: string,
  layer: QuantizedLayer | QuantizedLayer<Float32Array>,
  { input, follows, outputOrder }: LinearDesign,
  bias: Float32Array | undefined,
): StoredTensor[] {
  const rows = outputOrder ?? Int32Array.from({ length: layer.outFeatures }, (_, i) => i);
  const codes = rowsInOrder(layer.codes, rows);
  const zeros = rowsInOrder(layer.zeros, rows);
  const ordered =
    layer.scales instanceof Float32Array
      ? { ...layer, codes, zeros, scales: rowsInOrder(layer.scales, rows) }
      : { ...layer, codes, zeros, scales: rowsInOrder(layer.scales, rows) };
  const { order, sizes, grids, rotation } = input;
  return [
    ...weightTensors(name, ordered, 'gptq_v2'),
    ...(bias ? [listTensor(`${name}.bias`, rowsInOrder(bias, rows))] : []),
    ...orderTensors(name, {
      inputOrder: follows === 'norm' ? order : undefined,
      outputOrder,
      sizes,
      grids,
      rotation,
    }),
  ];
}

/** Where rows and columns of a stored layer come from, and what its input is quantized by. */
export interface StoredOrders {
  readonly inputOrder?: Int32Array | undefined;
  readonly outputOrder?: Int32Array | undefined;
  readonly sizes: readonly number[];
  readonly grids?: readonly AffineGrid[] | undefined;
  readonly rotation?: number | undefined;
}

export function orderTensors(
  name: string,
  { inputOrder, outputOrder, sizes, grids, rotation }: StoredOrders,
): StoredTensor[] {
  const ints = (suffix: string, values: Iterable<number>): StoredTensor =>
    listTensor(`${name}.${suffix}`, Int32Array.from(values));
  const scales = grids?.map(({ scale }) => scale);
  const zeros = grids?.map(({ zero }) => zero);
  return [
    ...(inputOrder ? [ints('input_order', inputOrder)] : []),
    ...(outputOrder ? [ints('output_order', outputOrder)] : []),
    ints('input_clusters', sizes),
    ...(scales ? [listTensor(`${name}.input_scales`, Float32Array.from(scales))] : []),
    ...(zeros ? [ints('input_zeros', zeros)] : []),
    ...(rotation ? [ints('input_rotation', [rotation])] : []),
  ];
}

function listTensor(name: string, values: Int32Array | Float32Array): StoredTensor {
  const dtype = values instanceof Float32Array ? 'f32' : 'i32';
  return { name, dtype, shape: [values.length], read: async () => values };
}

/** Rows of a matrix [N, C] in an order of all of them. */
function rowsInOrder<T extends Uint8Array | Uint16Array | Float32Array>(
  values: T,
  order: Int32Array,
): T {
  const width = values.length / order.length;
  const out = values.slice() as T;
  for (const [row, from] of order.entries()) {
    out.set(values.subarray(from * width, (from + 1) * width), row * width);
  }
  return out;
}
