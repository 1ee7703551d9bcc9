import { CheckpointError } from '../../errors';
import type { ModuleContext } from '../../nn/module';
import { type AffineWeight, affineRepack, type GptqWeight } from '../../ops';
import type { Tensor } from '../../tensor';
import { loadWeights } from '../gptq/gptq-weight';
import type { InputGrid } from './ordered-input';
import { type LoadedInput, loadInput, readOrder } from './stored-input';
import type { StoredLayer } from './stored-layer';

/** Zero points as they are, codes as a stream of bits. */
const FORMAT = { zeroFormat: 'gptq_v2', planar: false } as const;

/** Layers with the same input, in memory: stacked in one weight, if their groups are alike. */
export type LoadedRptq = {
  /** On the host, as it is on disk. */
  readonly input: LoadedInput;
  /** The order of each layer's rows, where they have one. */
  readonly outputOrders: readonly (Int32Array | undefined)[];
  /** i32[K]: the column of the input at each place, where a norm makes the input. */
  readonly order: Tensor | undefined;
} & (
  | { readonly kind: 'float'; readonly weights: readonly GptqWeight[] }
  | { readonly kind: 'coded'; readonly grid: InputGrid; readonly weights: readonly AffineWeight[] }
);

/**
 * Reads layers that share an input.
 * @throws CheckpointError when they do not agree about it
 */
export async function loadRptq(
  context: ModuleContext,
  layers: readonly StoredLayer[],
): Promise<LoadedRptq> {
  const [first] = layers as [StoredLayer];
  const input = await loadSharedInput(context, layers);
  const outputOrders: (Int32Array | undefined)[] = [];
  for (const { weight } of layers) {
    const tensor = `${weight.name}.output_order`;
    const isThere = context.source.has(tensor);
    outputOrders.push(isThere ? await readOrder(context, tensor, weight.outFeatures) : undefined);
  }
  const weights = await loadWeights(
    context,
    layers.map(({ weight }) => weight),
    FORMAT,
  ).then((loaded) => loaded.map(({ weight }) => weight));
  const { device } = context;
  const k = first.weight.inFeatures;
  const order = input.order && device.from('i32', [k], input.order);
  if (!input.grid || first.inputBits === 16) {
    return { kind: 'float', input, outputOrders, order, weights };
  }
  const { rotation } = input;
  const grid = {
    grid: device.from('f32', [2, k], input.grid),
    bits: first.inputBits,
    order,
    rotation,
  };
  const codes = weights.map((weight) => coded(weight, k));
  return { kind: 'coded', input, outputOrders, order, grid, weights: codes };
}

async function loadSharedInput(
  context: ModuleContext,
  layers: readonly StoredLayer[],
): Promise<LoadedInput> {
  const inputs: LoadedInput[] = [];
  for (const layer of layers) inputs.push(await loadInput(context, layer.input));
  const [first] = inputs as [LoadedInput];
  const other = inputs.findIndex(
    ({ order, grid, rotation }) =>
      `${order} ${grid} ${rotation}` !== `${first.order} ${first.grid} ${first.rotation}`,
  );
  if (other < 0) return first;
  throw new CheckpointError(
    `${layers[other]?.weight.name} and ${layers[0]?.weight.name} read one input, but in different ` +
      'orders or on different grids: the checkpoint is damaged, or was put together from two',
  );
}

/** The same weight in the order of `linearAffine`; frees the codes it is made from. */
function coded({ bits, codes, high, ...rest }: GptqWeight, positions: number): AffineWeight {
  if (bits === 2) throw new Error('no configuration has weights of 2 bits');
  const planes = affineRepack({ codes, high }, { bits, positions });
  codes.dispose();
  high?.dispose();
  return { ...rest, ...planes, bits };
}
