import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint';
import { writeWeights } from '../checkpoint/checkpoint-writer';
import type { ModelConfig } from '../checkpoint/config';
import type { TensorInfo } from '../checkpoint/tensor-info';
import { Device } from '../device';
import { OptionsError, UnsupportedError } from '../errors';
import { CheckpointSource } from '../models/sources';
import { cast, scaleColumns } from '../ops';
import type { Tensor } from '../tensor';

export interface OutlierVariantOptions {
  /** Hidden features to enlarge; default 5, evenly spread. */
  features?: readonly number[];
  /** Factor, a power of two so that 16-bit weights stay exact; default 64. */
  scale?: number;
}

/** As in models of 13B parameters: a few features, values of 50 and more. */
const DEFAULT_COUNT = 5;
const DEFAULT_SCALE = 64;

/** Tensors (below `layers.N.`) by what happens to the features. */
interface Affected {
  /** Enlarges them. */
  norms: RegExp;
  /** Undoes it. */
  following: RegExp;
}

const LLAMA: Affected = {
  norms: /\.layers\.\d+\.(input_layernorm|post_attention_layernorm)\.weight$/,
  following: /\.layers\.\d+\.(self_attn\.[qkv]_proj|mlp\.(gate|up)_proj)\.weight$/,
};
const TENSORS: Record<ModelConfig['modelType'], Affected> = {
  opt: {
    norms: /\.layers\.\d+\.(self_attn_layer_norm|final_layer_norm)\.(weight|bias)$/,
    following: /\.layers\.\d+\.(self_attn\.[qkv]_proj|fc1)\.weight$/,
  },
  llama: LLAMA,
  bitnet: LLAMA,
};

/** What `writeOutlierVariant` has changed. */
export interface OutlierVariant {
  features: readonly number[];
  scale: number;
}

/**
 * Writes a copy of a checkpoint in which a few hidden features are systematic outliers, as they
 * emerge in models above 6.7B parameters, and which computes the same function: the gains (and
 * biases) of the norms before attention and feed-forward are scaled up for these features, the
 * columns of the linear layers that follow are scaled down.
 * @throws OptionsError for wrong features or scale
 * @throws UnsupportedError when norms stand behind the blocks or have no gains, or the weights are
 * quantized
 */
export async function writeOutlierVariant(
  folder: string,
  out: string,
  options: OutlierVariantOptions = {},
): Promise<OutlierVariant> {
  const checkpoint = await openCheckpoint(folder);
  checkScalable(checkpoint);
  if (resolve(out) === resolve(folder)) {
    throw new OptionsError(`${out} is the folder of the original: choose another one`);
  }
  const { config } = checkpoint;
  const features = options.features ?? spread(config.hiddenSize, DEFAULT_COUNT);
  const scale = options.scale ?? DEFAULT_SCALE;
  checkOptions(features, scale, config.hiddenSize);
  const factors = (by: number): Float32Array => {
    const all = new Float32Array(config.hiddenSize).fill(1);
    for (const feature of features) all[feature] = by;
    return all;
  };
  const { norms, following } = TENSORS[config.modelType];

  using device = Device.open('cpu', { threads: 1 });
  const source = new CheckpointSource(checkpoint);
  using up = device.from('f32', [config.hiddenSize], factors(scale));
  using down = device.from('f32', [config.hiddenSize], factors(1 / scale));
  const read = async ({ name, shape }: TensorInfo): Promise<ArrayBufferView> => {
    using stored = device.allocate(source.describe(name).dtype, [...shape]);
    await device.submit([source.load(name, stored)]);
    const factor = norms.test(name) ? up : following.test(name) ? down : undefined;
    return factor ? scaled(stored, factor) : stored.read();
  };
  try {
    await mkdir(out, { recursive: true });
    const tensors = [...checkpoint.tensors.values()].map((info) => ({
      name: info.name,
      dtype: info.dtype,
      shape: info.shape,
      data: () => read(info),
    }));
    await writeWeights(out, tensors);
    await copyBeside(folder, out);
    return { features, scale };
  } finally {
    source.dispose();
  }
}

/** The values times a factor per column, in the stored dtype. */
function scaled(stored: Tensor, factor: Tensor): ArrayBufferView {
  const { device, dtype } = stored;
  const columns = factor.elements;
  return device.scope(() => {
    const wide = cast(stored.reshape([stored.elements / columns, columns]), 'f32');
    return cast(scaleColumns(wide, factor), dtype).read();
  });
}

function checkScalable({ config, folder }: Checkpoint): void {
  const refuse = (why: string): never => {
    throw new UnsupportedError(`no outlier variant of ${folder} can be written: ${why}`);
  };
  if (config.quantization) refuse('its weights are quantized');
  if (config.modelType !== 'opt') return;
  if (!config.doLayerNormBefore) refuse('its norms stand after the blocks, not before them');
  if (!config.layerNormElementwiseAffine) refuse('its norms have no gains');
}

function checkOptions(features: readonly number[], scale: number, hiddenSize: number): void {
  const wrong = features.find((f) => !Number.isSafeInteger(f) || f < 0 || f >= hiddenSize);
  if (wrong !== undefined) {
    throw new OptionsError(`${wrong} is not a hidden feature: they go from 0 to ${hiddenSize - 1}`);
  }
  if (!(scale > 0) || !Number.isInteger(Math.log2(scale))) {
    throw new OptionsError(`scale must be a power of two, got ${scale}`);
  }
}

/** `count` features with equal gaps. */
function spread(hiddenSize: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * hiddenSize) / count));
}

/** Configuration and tokenizer; weights are not copied. */
async function copyBeside(from: string, to: string): Promise<void> {
  for (const name of await readdir(from)) {
    if (/\.(json|jinja|txt|model)$/.test(name) && !/\.safetensors\./.test(name)) {
      await copyFile(join(from, name), join(to, name));
    }
  }
}
