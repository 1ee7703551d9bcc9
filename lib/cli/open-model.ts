import { resolveModel } from '../checkpoint/hub';
import type { EngineOptions } from '../engine';
import { AutoModelForCausalLM } from '../pretrained/auto';
import type { CausalLanguageModel } from '../pretrained/model';
import type { Context } from './context';
import { hubOptions, type ModelOptions } from './options/model-options';
import { formatBytes } from './output/format';

/** The folder of a model; fetches it, with progress, when it is only on the hub. */
export function findModel(
  name: string,
  options: ModelOptions,
  { output, signal }: Context,
): Promise<string> {
  return resolveModel(name, {
    ...hubOptions(options),
    signal,
    onProgress: ({ loaded, total }) => showBytes(output, 'download', loaded, total),
  });
}

/** Loads (and quantizes) a model from its folder, with progress. */
export async function loadModel(
  folder: string,
  options: ModelOptions,
  { output, signal }: Context,
  engine: EngineOptions = {},
): Promise<CausalLanguageModel> {
  const { device, quantization, threads, kvBits } = options;
  const model = await AutoModelForCausalLM.fromPretrained(folder, {
    ...engine,
    device,
    signal,
    ...(quantization ? { quantization } : {}),
    ...(threads !== undefined ? { threads } : {}),
    ...(kvBits !== undefined ? { kvBits } : {}),
    onProgress: ({ loaded, total }) => showBytes(output, 'load', loaded, total),
  });
  output.progress.clear();
  return model;
}

function showBytes(
  { progress }: Context['output'],
  label: string,
  loaded: number,
  total: number,
): void {
  progress.update(label, loaded, total, `${formatBytes(loaded)} of ${formatBytes(total)}`);
}
