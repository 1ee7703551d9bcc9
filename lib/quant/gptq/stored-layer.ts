import { CheckpointError } from '../../errors';
import type { DType } from '../../native';
import type { ModuleContext } from '../../nn/module';
import { type GptqBits, gptqLowWidth, gptqPlaneBytes } from '../../ops';
import { sizeOf } from '../../tensor';
import type { GptqCheckpointConfig } from './checkpoint-config';

/** A layer as it is in the checkpoint, by its tensors' shapes. */
export interface StoredLayer {
  /** Prefix of its tensors. */
  readonly name: string;
  readonly bits: GptqBits;
  /** Input columns per group; never -1. */
  readonly groupSize: number;
  readonly groups: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly scales: DType;
  readonly bias: DType | undefined;
}

/** What the architecture asks of a layer. */
export interface LayerShape {
  inFeatures: number;
  outFeatures: number;
  bias: boolean;
}

const FLOATS: readonly DType[] = ['f32', 'f16', 'bf16'];

/**
 * Checks the shapes and dtypes of a layer's tensors against its configuration.
 * @throws CheckpointError naming the tensor, what was found and what was expected
 */
export function describeLayer(
  context: ModuleContext,
  name: string,
  { inFeatures, outFeatures, bias: hasBias }: LayerShape,
  config: Pick<GptqCheckpointConfig, 'layerConfig'>,
): StoredLayer {
  const { source } = context;
  const { bits, groupSize: configured } = config.layerConfig(name);
  const groupSize = configured === -1 ? inFeatures : configured;
  const groups = Math.ceil(inFeatures / groupSize);
  if ((inFeatures * bits) % 32 !== 0 || (outFeatures * bits) % 32 !== 0) {
    throw new CheckpointError(
      `${name} is ${inFeatures} x ${outFeatures}, whose codes of ${bits} bits do not fill 32-bit ` +
        'words: it cannot have been packed so; config.json and the weights do not belong together',
    );
  }
  const expect = (suffix: string, dtypes: readonly DType[], shape: number[]): DType => {
    const { dtype, shape: found = shape } = source.describe(`${name}.${suffix}`);
    if (dtypes.includes(dtype) && found.join() === shape.join()) return dtype;
    throw new CheckpointError(
      `${name}.${suffix} is ${dtype}[${found.join(', ')}], but ${bits} bits in groups of ` +
        `${groupSize} ask for ${dtypes.join(' or ')}[${shape.join(', ')}]: the tensors and the ` +
        'quantization configuration do not belong together',
    );
  };
  expect('qweight', ['i32'], [(inFeatures * bits) / 32, outFeatures]);
  expect('qzeros', ['i32'], [groups, (outFeatures * bits) / 32]);
  const scales = expect('scales', FLOATS, [groups, outFeatures]);
  // Some programs write a bias, of zeros, for layers that have none.
  const isBiased = hasBias || source.has(`${name}.bias`);
  const bias = isBiased ? expect('bias', FLOATS, [outFeatures]) : undefined;
  return { name, bits, groupSize, groups, inFeatures, outFeatures, scales, bias };
}

/** Bytes of the layer in memory, without the order of its columns, which no shape tells. */
export function layerBytes(layer: StoredLayer): number {
  const { bits, groups, inFeatures, scales } = layer;
  const high = bits === 3 ? gptqPlaneBytes(inFeatures, 1) : 0;
  const row = gptqPlaneBytes(inFeatures, gptqLowWidth(bits)) + high + groups * (sizeOf(scales) + 1);
  return layer.outFeatures * (row + (layer.bias ? sizeOf(layer.bias) : 0));
}

/**
 * The group of each input column by `g_idx`, or by its place where there is none, or only zeros.
 * @throws CheckpointError for a wrong length, and for values that are no group: reading scales at
 * them would reach outside of the tensor
 */
export async function readGroups(
  { device, source }: ModuleContext,
  { name, groupSize, groups, inFeatures }: StoredLayer,
): Promise<Int32Array> {
  const tensor = `${name}.g_idx`;
  const byPlace = Int32Array.from({ length: inFeatures }, (_, i) => Math.floor(i / groupSize));
  if (!source.has(tensor)) return byPlace;
  const { dtype, shape = [inFeatures] } = source.describe(tensor);
  const [length = 0] = shape;
  if (dtype !== 'i32' || shape.length !== 1 || length % inFeatures !== 0 || length === 0) {
    throw new CheckpointError(
      `${tensor} is ${dtype}[${shape.join(', ')}], but must be i32[${inFeatures}]`,
    );
  }
  using held = device.allocate('i32', [length]);
  await device.submit([source.load(tensor, held)]);
  const all = held.read() as Int32Array;
  const index = all.slice(0, inFeatures);
  // Layers that AutoGPTQ fused repeat the list once per layer.
  if (all.some((group, i) => group !== index[i % inFeatures])) {
    throw new CheckpointError(`${tensor} holds ${length} groups for ${inFeatures} columns`);
  }
  // Older programs leave the list empty when columns are in order.
  if (index.every((group) => group === 0)) return byPlace;
  return index.map((group, i) => {
    if (group >= -groups && group < groups) return group < 0 ? group + groups : group;
    throw new CheckpointError(
      `${tensor}[${i}] is ${group}, but the layer has ${groups} groups: the file is damaged, fetch ` +
        'it again',
    );
  });
}
