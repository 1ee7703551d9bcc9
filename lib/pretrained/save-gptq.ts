import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { writeWeights } from '../checkpoint/checkpoint-writer';
import { OptionsError } from '../errors';
import type { Transformer } from '../models/transformer';
import type { StoredTensor } from '../nn/module';
import { GptqCheckpointConfig } from '../quant/gptq/checkpoint-config';
import type { GptqConfig } from '../quant/gptq/config';
import { layerTensors } from '../quant/gptq/quantized-layer';
import type { QuantizedLayers } from './quantize-gptq';
import { copyOthers, replaceFile, type SaveOptions, withProgress } from './save';

const WEIGHT = '.weight';

/**
 * Writes a model that `quantizeGptq` went through as AutoGPTQ and GPTQModel do: `qweight`, `qzeros`,
 * `scales` and `g_idx` for each quantized layer, quantize_config.json beside config.json, symmetric
 * zero points as v1 and others as v2. Files appear only when they are complete.
 */
export async function saveGptq(
  model: { transformer: Transformer; checkpoint: Checkpoint },
  layers: QuantizedLayers,
  config: GptqConfig,
  folder: string,
  { maxShardBytes, onProgress }: SaveOptions = {},
): Promise<void> {
  const { transformer, checkpoint } = model;
  if (resolve(folder) === resolve(checkpoint.folder)) {
    throw new OptionsError(`${folder} is the folder of the model itself: choose another one`);
  }
  await mkdir(folder, { recursive: true });
  const disk = config.diskConfig();
  const { zeroFormat } = new GptqCheckpointConfig(disk);
  const tensors = transformer.modules
    .flatMap((module) => module.stored())
    .flatMap((tensor): StoredTensor[] => {
      const name = tensor.name.slice(0, -WEIGHT.length);
      const layer = tensor.name.endsWith(WEIGHT) ? layers.get(name) : undefined;
      return layer ? layerTensors(name, layer, zeroFormat) : [tensor];
    });
  const sources = withProgress(tensors, onProgress);
  await writeWeights(folder, sources, maxShardBytes === undefined ? {} : { maxShardBytes });
  await replaceFile(join(folder, 'quantize_config.json'), disk);
  const { quantization_config: _, ...raw } = checkpoint.rawConfig;
  await replaceFile(join(folder, 'config.json'), { ...raw, quantization_config: disk });
  await copyOthers(checkpoint.folder, folder);
}
