import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from './json';
import { readJsonObject } from './json';

/** Where GPTQ programs keep what config.json of newer checkpoints has under `quantization_config`. */
const FILES = ['quantize_config.json', 'quant_config.json'];

/**
 * How a checkpoint says it is quantized: the file of its own that AutoGPTQ and others write, over
 * `quantization_config` of config.json.
 * @param inline `quantization_config` of config.json
 * @throws CheckpointError when the file cannot be read
 */
export async function readQuantizationConfig(
  folder: string,
  inline: JsonObject | undefined,
): Promise<JsonObject | undefined> {
  const { quant_method: method = 'gptq' } = inline ?? {};
  if (method !== 'gptq' && method !== 'marlin') return inline;
  const path = FILES.map((name) => join(folder, name)).find((candidate) => existsSync(candidate));
  return path === undefined ? inline : { ...inline, ...(await readJsonObject(path)) };
}
