import { CheckpointError } from '../../errors';
import type { DType } from '../../native';
import type { ModuleContext } from '../../nn/module';
import { AFFINE_ROTATIONS } from '../../ops';
import { hostArray } from '../../tensor';
import type { AffineGrid } from './affine';
import { channelGrid } from './input-design';

/** How a stored layer's input is ordered and quantized, as its tensors say. */
export interface StoredInput {
  readonly name: string;
  /** Columns of the input. */
  readonly inFeatures: number;
  /** Whether the input comes from a norm, which writes it in an order of its own. */
  readonly reordered: boolean;
  /** Clusters with a grid; 0 where the input has 16 bits. */
  readonly clusters: number;
}

/** The values of `StoredInput`. */
export interface LoadedInput {
  readonly order?: Int32Array | undefined;
  /** Channels of each cluster. */
  readonly sizes: readonly number[];
  readonly grids?: readonly AffineGrid[] | undefined;
  /** f32[2, K]: their scales, then zero points, by place. */
  readonly grid?: Float32Array | undefined;
  /** Width of the blocks of channels that are rotated before they are quantized. */
  readonly rotation?: number | undefined;
}

/**
 * @param isQuantized what the configuration says of inputs from norms, and of others
 * @throws CheckpointError for tensors of another shape, or that are missing
 */
export function describeInput(
  context: ModuleContext,
  name: string,
  inFeatures: number,
  isQuantized: (reordered: boolean) => boolean,
): StoredInput {
  const reordered = context.source.has(`${name}.input_order`);
  if (reordered) expect(context, `${name}.input_order`, 'i32', inFeatures);
  const clusters = lengthOf(context, `${name}.input_clusters`);
  if (!isQuantized(reordered)) return { name, inFeatures, reordered, clusters: 0 };
  expect(context, `${name}.input_scales`, 'f32', clusters);
  expect(context, `${name}.input_zeros`, 'i32', clusters);
  return { name, inFeatures, reordered, clusters };
}

/**
 * @throws CheckpointError for an order that is none, clusters that do not add up, and a rotation that
 * does not divide the channels
 */
export async function loadInput(
  context: ModuleContext,
  { name, inFeatures, reordered, clusters }: StoredInput,
): Promise<LoadedInput> {
  const sizes = [...((await read(context, `${name}.input_clusters`)) as Int32Array)];
  const isWrong = sizes.some((size) => size < 1) || sum(sizes) !== inFeatures;
  if (isWrong) {
    throw new CheckpointError(
      `${name}.input_clusters adds up to ${sum(sizes)} channels, but the layer has ${inFeatures} ` +
        'inputs: the file is damaged, fetch it again',
    );
  }
  const order = reordered ? await readOrder(context, `${name}.input_order`, inFeatures) : undefined;
  if (clusters === 0) return { order, sizes };
  const scales = (await read(context, `${name}.input_scales`)) as Float32Array;
  const zeros = (await read(context, `${name}.input_zeros`)) as Int32Array;
  if (!scales.every((scale) => Number.isFinite(scale) && scale > 0)) {
    throw new CheckpointError(
      `${name}.input_scales holds a scale that is not positive: the file is damaged, fetch it again`,
    );
  }
  const grids = sizes.map((_, c) => ({
    scale: scales[c] as number,
    zero: zeros[c] as number,
  }));
  const rotation = await readRotation(context, { name, inFeatures, reordered });
  return { order, sizes, grids, grid: channelGrid({ sizes, grids }), rotation };
}

async function readRotation(
  context: ModuleContext,
  { name, inFeatures, reordered }: Pick<StoredInput, 'name' | 'inFeatures' | 'reordered'>,
): Promise<number | undefined> {
  const tensor = `${name}.input_rotation`;
  if (!context.source.has(tensor)) return undefined;
  expect(context, tensor, 'i32', 1);
  const [width] = (await read(context, tensor)) as Int32Array;
  const fits = AFFINE_ROTATIONS.some((known) => known === width && inFeatures % known === 0);
  if (fits && !reordered) return width;
  throw new CheckpointError(
    `${tensor} is ${width}: it must be one of ${AFFINE_ROTATIONS.join(', ')} that divides the ` +
      `${inFeatures} inputs, of a layer without input_order; the file is damaged, fetch it again`,
  );
}

/**
 * An order of channels.
 * @throws CheckpointError unless it holds each once: reading one that is not there would reach outside
 * of a tensor
 */
export async function readOrder(
  context: ModuleContext,
  tensor: string,
  channels: number,
): Promise<Int32Array> {
  expect(context, tensor, 'i32', channels);
  const order = (await read(context, tensor)) as Int32Array;
  const seen = new Uint8Array(channels);
  for (const [place, channel] of order.entries()) {
    if (channel < 0 || channel >= channels || seen[channel]) {
      throw new CheckpointError(
        `${tensor}[${place}] is ${channel}: it must hold each of the ${channels} channels once; the ` +
          'file is damaged, fetch it again',
      );
    }
    seen[channel] = 1;
  }
  return order;
}

function expect({ source }: ModuleContext, tensor: string, dtype: DType, length: number): void {
  const { dtype: found, shape = [length] } = source.describe(tensor);
  if (found === dtype && shape.length === 1 && shape[0] === length) return;
  throw new CheckpointError(
    `${tensor} is ${found}[${shape.join(', ')}], but must be ${dtype}[${length}]: the tensors and the ` +
      'configuration do not belong together',
  );
}

function lengthOf({ source }: ModuleContext, tensor: string): number {
  const { dtype, shape = [] } = source.describe(tensor);
  const [length = 0] = shape;
  if (dtype === 'i32' && shape.length === 1 && length > 0) return length;
  throw new CheckpointError(
    `${tensor} is ${dtype}[${shape.join(', ')}], but must be a list of i32: the checkpoint is damaged`,
  );
}

/** A stored tensor on the host. */
export async function read({ device, source }: ModuleContext, name: string) {
  const { dtype, shape = [] } = source.describe(name);
  using held = device.allocate(dtype, [...shape]);
  await device.submit([source.load(name, held)]);
  const into = hostArray(dtype, held.elements);
  await device.submit([{ kind: 'read', tensor: held.handle, into }]);
  return into;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
