import { resolve } from 'node:path';
import type { CalibrationData } from '../calibration';
import { openCheckpoint } from '../checkpoint/checkpoint';
import { type HubOptions, resolveModel } from '../checkpoint/hub';
import type { DeviceName, DeviceOptions } from '../device';
import { OptionsError } from '../errors';
import {
  GptqConfig,
  type GptqOptions,
  type MethodConfig,
  parseQuantization,
  type QuantizationConfig,
  RptqConfig,
  type RptqOptions,
} from '../quant';
import { damageOf } from '../quant/bitnet';
import { AutoModelForCausalLM, type ModelProgress } from './auto';
import { GptqRecipe } from './gptq/recipe';
import type { CalibrationReport } from './layerwise/gather-windows';
import type { LayerReport, LayerwiseProgress } from './layerwise/progress';
import { quantizeLayerwise } from './layerwise/quantize';
import type { Recipe } from './layerwise/recipe';
import { RptqRecipe } from './rptq/recipe';

/** How to quantize a model: a config class, or the same as a plain object with its `method`. */
export type QuantizeConfig =
  | QuantizationConfig
  | GptqConfig
  | ({ method: 'gptq' } & GptqOptions)
  | RptqConfig
  | ({ method: 'rptq' } & RptqOptions);

/** The settings of a method that calibrates. */
type CalibratedConfig = GptqConfig | RptqConfig;

/** How far `quantize` is; see `phase`. */
export type QuantizeProgress = ModelProgress | LayerwiseProgress;

/** Options of `quantize`. Those from `dataset` to `restart` are for methods that calibrate: GPTQ, RPTQ. */
export interface QuantizeOptions
  extends DeviceOptions,
    Omit<HubOptions, 'onProgress' | 'signal' | 'refresh'> {
  /** Folder of the result. */
  out: string;
  /** Default `auto`: the first CUDA device that works, else the CPU. */
  device?: DeviceName;
  /** Dtype of hidden states on CUDA; default the checkpoint's, or f16. */
  dtype?: 'f16' | 'bf16';
  /**
   * Text to calibrate with: a file (.txt, or .jsonl, .json or .parquet with a field `text`), or
   * `wikitext2`, `c4` or `ptb` from the hub, or windows of token ids.
   */
  dataset?: CalibrationData;
  /** Windows of the text; default 128. */
  samples?: number;
  /** Token ids of a window; default 2048, or as many as the model takes. */
  seqlen?: number;
  /** Of the random places that windows are taken from; default 0. */
  seed?: number | bigint;
  /** Drop what an earlier, unfinished run left in `out`, and replace a finished result. */
  restart?: boolean;
  /** Largest weight file in bytes; default 5 GB. */
  maxShardBytes?: number;
  signal?: AbortSignal;
  onProgress?: (progress: QuantizeProgress) => void;
}

/** What `quantize` did. */
export interface QuantizeReport {
  method: CalibratedConfig['method'] | MethodConfig['method'];
  /** Folder of the result, absolute. */
  out: string;
  /** Every layer that GPTQ or RPTQ quantized, in order; empty for other methods. */
  layers: LayerReport[];
  /** What GPTQ or RPTQ was calibrated with. */
  calibration?: CalibrationReport;
  /** What is worth knowing: little calibration text, layers left as they were, fallbacks. */
  notices: string[];
  seconds: number;
}

/**
 * Writes a quantized copy of a model.
 *
 * GPTQ and RPTQ need text to calibrate with and work layer by layer, so that memory for one layer (and the
 * hidden states of the calibration windows) is enough. Finished layers are kept in a folder inside
 * `out` until all are done: after a crash the same call goes on where it was. The result of GPTQ
 * is in the format of AutoGPTQ and GPTQModel, that of RPTQ in one of fewbit's own (docs/rptq.md).
 *
 * @param nameOrFolder a folder, or the id of a model on the Hugging Face hub
 * @throws OptionsError for wrong options or an `out` that holds something else, CheckpointError,
 * UnsupportedError when the model is quantized already, HubError, or the signal's reason
 * @example
 * await quantize('facebook/opt-125m', { method: 'gptq', bits: 4, groupSize: 128 },
 *   { out: './opt-125m-4bit', dataset: 'wikitext2', onProgress: console.error });
 */
export async function quantize(
  nameOrFolder: string,
  quantization: QuantizeConfig,
  options: QuantizeOptions,
): Promise<QuantizeReport> {
  const start = performance.now();
  const config = parseMethod(quantization);
  if (typeof options?.out !== 'string' || options.out === '') {
    throw new OptionsError('out is missing: name the folder to write the quantized model to');
  }
  const recipe = recipeOf(config);
  if (!recipe) refuseCalibration(config.method, options);
  const notices: string[] = [];
  const onProgress = (progress: QuantizeProgress): void => {
    if (progress.phase === 'notice') notices.push(progress.message);
    options.onProgress?.(progress);
  };
  const folder = await resolveModel(nameOrFolder, {
    ...options,
    onProgress: (progress) => onProgress({ phase: 'download', ...progress }),
  });
  const out = resolve(options.out);
  if (out === resolve(folder)) {
    throw new OptionsError(`${out} is the folder of the model itself: choose another one`);
  }
  const told = { ...options, out, onProgress };
  const result = recipe
    ? await quantizeLayerwise(await openCheckpoint(folder), recipe, told)
    : await quantizeOnLoad(folder, config as MethodConfig, told);
  return {
    method: config.method,
    out,
    ...result,
    notices,
    seconds: (performance.now() - start) / 1000,
  };
}

function parseMethod(quantization: QuantizeConfig): CalibratedConfig | MethodConfig {
  if (quantization instanceof GptqConfig || quantization instanceof RptqConfig) return quantization;
  const { method } = (quantization ?? {}) as { method?: unknown };
  if (method === 'gptq') return new GptqConfig(quantization as GptqOptions);
  if (method === 'rptq') return new RptqConfig(quantization as RptqOptions);
  return parseQuantization(quantization as QuantizationConfig);
}

function recipeOf(config: CalibratedConfig | MethodConfig): Recipe | undefined {
  if (config.method === 'gptq') return new GptqRecipe(config);
  return config.method === 'rptq' ? new RptqRecipe(config) : undefined;
}

/** Methods that need no calibration: load, which quantizes, and save. */
async function quantizeOnLoad(
  folder: string,
  quantization: MethodConfig,
  { out, device, dtype, threads, maxShardBytes, signal, onProgress }: QuantizeOptions,
): Promise<Pick<QuantizeReport, 'layers'>> {
  await using model = await AutoModelForCausalLM.fromPretrained(folder, {
    quantization,
    ...(device !== undefined ? { device } : {}),
    ...(dtype !== undefined ? { dtype } : {}),
    ...(threads !== undefined ? { threads } : {}),
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
  });
  const damage = damageOf(model.transformer);
  if (damage) onProgress?.({ phase: 'notice', message: damage });
  await model.savePretrained(out, {
    ...(maxShardBytes !== undefined ? { maxShardBytes } : {}),
    onProgress: ({ loaded, total }) => {
      signal?.throwIfAborted();
      onProgress?.({ phase: 'save', loaded, total });
    },
  });
  return { layers: [] };
}

function refuseCalibration(
  method: string,
  { dataset, samples, seqlen, seed, restart }: QuantizeOptions,
): void {
  const given = Object.entries({ dataset, samples, seqlen, seed, restart });
  const [wrong] = given.find(([, value]) => value !== undefined) ?? [];
  if (wrong)
    throw new OptionsError(`${wrong} is for gptq and rptq: ${method} needs no calibration`);
}
