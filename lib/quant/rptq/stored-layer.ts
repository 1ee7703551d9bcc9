import { CheckpointError } from '../../errors';
import type { ModuleContext } from '../../nn/module';
import { AFFINE_ALIGNMENT, affinePlaneBytes } from '../../ops';
import { sizeOf } from '../../tensor';
import {
  describeLayer as describeWeight,
  type LayerShape,
  type StoredLayer as StoredWeight,
  layerBytes as weightBytes,
} from '../gptq/stored-layer';
import type { RptqCheckpointConfig } from './checkpoint-config';
import { describeInput, type StoredInput } from './stored-input';

/** A layer as it is in the checkpoint, by its tensors' shapes. */
export interface StoredLayer {
  readonly weight: StoredWeight;
  readonly input: StoredInput;
  /** Bits of the input. */
  readonly inputBits: 16 | 8 | 4;
}

/**
 * Checks the shapes and dtypes of a layer's tensors against the checkpoint's configuration.
 * @throws CheckpointError naming the tensor, what was found and what was expected
 */
export function describeLayer(
  context: ModuleContext,
  name: string,
  shape: LayerShape,
  { widths }: RptqCheckpointConfig,
): StoredLayer {
  if (widths.weights === 16) {
    throw new CheckpointError(
      `${name}.qweight is a quantized weight, but the configuration says that weights have 16 bits: ` +
        'config.json and the weights do not belong together',
    );
  }
  const { inFeatures } = shape;
  const bitsOf = (reordered: boolean) => (reordered ? widths.norm : widths.inner);
  const input = describeInput(context, name, inFeatures, (reordered) => bitsOf(reordered) < 16);
  const layer = {
    bits: widths.weights,
    groupSize: groupSizeOf(context, name, inFeatures),
    sym: false,
  };
  const weight = describeWeight(context, name, shape, { layerConfig: () => layer });
  return { weight, input, inputBits: bitsOf(input.reordered) };
}

/** Inputs are divided evenly among the rows of scales. */
function groupSizeOf({ source }: ModuleContext, name: string, inFeatures: number): number {
  const { shape = [] } = source.describe(`${name}.scales`);
  const [groups = 0] = shape;
  const size = inFeatures / groups;
  if (Number.isInteger(size) && size % AFFINE_ALIGNMENT === 0) return size;
  throw new CheckpointError(
    `${name}.scales is [${shape.join(', ')}], which does not divide ${inFeatures} inputs into groups ` +
      `of a multiple of ${AFFINE_ALIGNMENT}: the tensors and the configuration do not belong together`,
  );
}

/** Bytes of the layer in memory, without those that layers with the same input share. */
export function layerBytes({ weight, inputBits }: StoredLayer): number {
  if (inputBits === 16) return weightBytes(weight);
  const { bits, groups, inFeatures, outFeatures, scales, bias } = weight;
  const low = affinePlaneBytes(inFeatures, bits === 3 ? 2 : bits);
  const high = bits === 3 ? affinePlaneBytes(inFeatures, 1) : 0;
  const row = low + high + groups * (sizeOf(scales) + 1) + (bias ? sizeOf(bias) : 0);
  return outFeatures * row;
}

/** Bytes that layers with one input share: its order and its grid. */
export function inputBytes({ input, inputBits }: StoredLayer): number {
  const order = input.reordered ? input.inFeatures * sizeOf('i32') : 0;
  return order + (inputBits === 16 ? 0 : 2 * input.inFeatures * sizeOf('f32'));
}
