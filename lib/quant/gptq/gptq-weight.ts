import type { ModuleContext } from '../../nn/module';
import { loadRows } from '../../nn/parameter';
import { type GptqWeight, gptqLowWidth, gptqPlaneBytes } from '../../ops';
import { hostArray, type Tensor } from '../../tensor';
import type { CheckpointFormat } from './checkpoint-format';
import { type ColumnOrder, columnOrder } from './column-order';
import { unpackRows } from './pack';
import { planarToStream } from './planar';
import { readGroups, type StoredLayer } from './stored-layer';

/** One or more layers of a checkpoint, stacked along the output in one weight. */
export interface LoadedWeight {
  readonly layers: readonly StoredLayer[];
  readonly weight: GptqWeight;
  /** The group of each input column, on disk. */
  readonly groupOf: Int32Array;
  readonly columns: ColumnOrder | undefined;
}

/**
 * Reads layers that share an input. They become one weight if their widths, groups and column
 * orders agree, so that their input is gathered and their kernel launched once; else one each.
 */
export async function loadWeights(
  context: ModuleContext,
  layers: readonly StoredLayer[],
  format: CheckpointFormat,
): Promise<LoadedWeight[]> {
  const groups = await Promise.all(layers.map((layer) => readGroups(context, layer)));
  const first = layers[0] as StoredLayer;
  const alike = layers.every(
    (layer, i) => kindOf(layer) === kindOf(first) && `${groups[i]}` === `${groups[0]}`,
  );
  const stacks = alike ? [[...layers]] : layers.map((layer) => [layer]);
  const loaded: LoadedWeight[] = [];
  for (const [i, stack] of stacks.entries()) {
    loaded.push(await loadStack(context, stack, groups[i] as Int32Array, format));
  }
  return loaded;
}

/**
 * Whether a stored v1 zero point is the largest code, so that the true one is 0 (or a writer lost
 * it): programs disagree about what it, and the fields after it, mean.
 */
export async function hasWrappedZeros(
  { device, source }: ModuleContext,
  { name, bits, groups, outFeatures }: StoredLayer,
): Promise<boolean> {
  const words = hostArray('i32', (groups * outFeatures * bits) / 32);
  using qzeros = device.allocate('i32', [groups, words.length / groups]);
  await device.submit([
    source.load(`${name}.qzeros`, qzeros),
    { kind: 'read', tensor: qzeros.handle, into: words },
  ]);
  return unpackRows(words, bits).includes((1 << bits) - 1);
}

function kindOf({ bits, groupSize, scales }: StoredLayer): string {
  return `${bits} ${groupSize} ${scales}`;
}

async function loadStack(
  context: ModuleContext,
  layers: readonly StoredLayer[],
  groupOf: Int32Array,
  format: CheckpointFormat,
): Promise<LoadedWeight> {
  const columns = columnOrder(groupOf, (layers[0] as StoredLayer).groupSize);
  const weight = allocate(context, layers, columns);
  const groups = columns && context.device.from('i32', [columns.groups.length], columns.groups);
  let begin = 0;
  for (const layer of layers) {
    const end = begin + layer.outFeatures;
    await repack(context, { layer, weight, groups, format, rows: { begin, end } });
    if (weight.bias && layer.bias) {
      await loadRows(context, `${layer.name}.bias`, weight.bias, { begin, end });
    }
    begin = end;
  }
  groups?.dispose();
  return { layers, weight, groupOf, columns };
}

function allocate(
  { device }: ModuleContext,
  layers: readonly StoredLayer[],
  columns: ColumnOrder | undefined,
): GptqWeight {
  const { bits, groupSize, inFeatures, groups, scales } = layers[0] as StoredLayer;
  const rows = layers.reduce((sum, layer) => sum + layer.outFeatures, 0);
  const positions = columns?.order.length ?? inFeatures;
  const count = columns?.groups.length ?? groups;
  const plane = (width: number) => device.allocate('u8', [rows, gptqPlaneBytes(positions, width)]);
  const bias = layers.find((layer) => layer.bias)?.bias;
  return {
    bits,
    groupSize,
    codes: plane(gptqLowWidth(bits)),
    high: bits === 3 ? plane(1) : undefined,
    scales: device.allocate(scales, [rows, count]),
    zeros: device.allocate('u8', [rows, count]),
    order: columns && device.from('i32', [positions], columns.order),
    // Zero for layers without one.
    bias: bias && device.allocate(bias, [rows]),
  };
}

async function repack(
  { device, source }: ModuleContext,
  target: {
    layer: StoredLayer;
    weight: GptqWeight;
    groups: Tensor | undefined;
    format: CheckpointFormat;
    rows: { begin: number; end: number };
  },
): Promise<void> {
  const { layer, weight, groups, format } = target;
  const { name, bits, inFeatures, outFeatures } = layer;
  const { begin, end } = target.rows;
  using qweight = device.allocate('i32', [(inFeatures * bits) / 32, outFeatures]);
  using qzeros = device.allocate('i32', [layer.groups, (outFeatures * bits) / 32]);
  using scales = device.allocate(layer.scales, [layer.groups, outFeatures]);
  using codes = weight.codes.rows(begin, end);
  using high = weight.high?.rows(begin, end);
  using zeros = weight.zeros.rows(begin, end);
  using outScales = weight.scales.rows(begin, end);
  const tensors = [qweight, qzeros, scales, weight.order, groups, codes, high, zeros, outScales];
  await device.submit([
    source.load(`${name}.qweight`, qweight),
    source.load(`${name}.qzeros`, qzeros),
    source.load(`${name}.scales`, scales),
  ]);
  if (format.planar && bits === 3) {
    await rewritePlanar(qweight, outFeatures);
    await rewritePlanar(qzeros, 1);
  }
  await device.submit([
    {
      kind: 'run',
      op: 'gptq_repack',
      tensors: tensors.map((tensor) => tensor?.handle ?? null),
      attrs: [bits, format.zeroFormat === 'gptq' ? 1 : 0],
    },
  ]);
}

/** Brings planar words on a device into the order of the other formats, by way of the host. */
async function rewritePlanar({ device, handle, elements }: Tensor, cols: number): Promise<void> {
  const words = new Int32Array(elements);
  await device.submit([{ kind: 'read', tensor: handle, into: words }]);
  planarToStream(words, cols);
  await device.submit([{ kind: 'write', tensor: handle, data: words }]);
}
