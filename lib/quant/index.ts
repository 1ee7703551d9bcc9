import * as z from 'zod';
import type { JsonObject } from '../checkpoint/json';
import { OptionsError } from '../errors';
import { BitnetConfig, BitnetMethod, type BitnetOptions, bitnetMethods } from './bitnet';
import { foreignMethod } from './foreign';
import { GptqMethod } from './gptq';
import { LlmInt8Config, LlmInt8Method, type LlmInt8Options } from './llm-int8';
import type { QuantizationMethod } from './method';
import { RptqMethod } from './rptq';

export { BitnetConfig, type BitnetOptions } from './bitnet';
export { GptqConfig, type GptqOptions } from './gptq/config';
export { LlmInt8Config, type LlmInt8Options } from './llm-int8';
export type { QuantizationMethod } from './method';
export {
  RPTQ_CONFIG_NAMES,
  RPTQ_CONFIGS,
  RptqConfig,
  type RptqConfigName,
  type RptqOptions,
  type RptqWidths,
} from './rptq';

/** What `quantization` takes: a config class, or the same as a plain object with its `method`. */
export type QuantizationConfig =
  | MethodConfig
  | ({ method: 'llm.int8' } & LlmInt8Options)
  | ({ method: 'bitnet' } & BitnetOptions);

/** The settings of a method that quantizes on load. */
export type MethodConfig = LlmInt8Config | BitnetConfig;

const METHODS = ['llm.int8', 'bitnet'];

/**
 * The methods that a model's layers may use: the one asked for, and those its checkpoint is in.
 * @param stored `quantization_config` of config.json
 * @throws OptionsError for a wrong option, UnsupportedError for a checkpoint in another method
 */
export function quantizationMethods(
  wanted: QuantizationConfig | undefined,
  stored: JsonObject | undefined,
): QuantizationMethod[] {
  const config = wanted && parseQuantization(wanted);
  if (stored === undefined) {
    if (config?.method === 'bitnet') return [new GptqMethod(), ...bitnetMethods(config)];
    // Also reads int8 layers that the tensors alone give away, and refuses other ones.
    const int8 = new LlmInt8Method(config ?? new LlmInt8Config(), config !== undefined);
    return [new GptqMethod(), new BitnetMethod(), int8];
  }
  if (stored.quant_method === 'bitnet') {
    if (config?.method !== 'llm.int8') return bitnetMethods(config ?? new BitnetConfig(), stored);
    throw new OptionsError(
      'the checkpoint is a BitNet model, whose weights are ternary already: llm.int8 needs another one',
    );
  }
  if (stored.quant_method === 'rptq') {
    if (!config) return [new RptqMethod(stored)];
    throw new OptionsError(
      `the checkpoint is quantized by RPTQ already: ${config.method} needs the original model`,
    );
  }
  if (isGptq(stored)) {
    if (!config) return [new GptqMethod(stored)];
    throw new OptionsError(
      `the checkpoint is quantized by GPTQ already: ${config.method} needs the original model`,
    );
  }
  const { quant_method: method, load_in_4bit: fourBit } = stored;
  const isInt8 = (method ?? 'bitsandbytes') === 'bitsandbytes' && stored.load_in_8bit === true;
  if (!isInt8 || fourBit === true) throw foreignMethod(stored);
  if (config?.method === 'bitnet') {
    throw new OptionsError(
      'the checkpoint is quantized by LLM.int8() already: bitnet needs the original model',
    );
  }
  return [new LlmInt8Method(LlmInt8Config.ofCheckpoint(stored, config?.given), false)];
}

/** Old files of AutoGPTQ do not name their method; those of AWQ neither, but have a zero_point. */
function isGptq(stored: JsonObject): boolean {
  const { quant_method: method = stored.method, load_in_8bit: eightBit } = stored;
  if (method !== undefined) return method === 'gptq' || method === 'marlin';
  return (
    eightBit === undefined && !('zero_point' in stored) && ('bits' in stored || 'w_bit' in stored)
  );
}

/** @throws OptionsError naming what is wrong */
export function parseQuantization(config: QuantizationConfig): MethodConfig {
  if (config instanceof LlmInt8Config || config instanceof BitnetConfig) return config;
  const { method } = z.looseObject({ method: z.string() }).catch({ method: 'none' }).parse(config);
  if (method === 'gptq' || method === 'rptq') {
    throw new OptionsError(
      `${method} needs calibration and does not quantize on load: write a quantized copy first ` +
        `(quantize() or \`fewbit quantize --method ${method}\`) and load that`,
    );
  }
  if (!METHODS.includes(method)) {
    throw new OptionsError(
      `unknown quantization method '${method}'; available: ${METHODS.join(', ')}`,
    );
  }
  if (config.method === 'bitnet') return new BitnetConfig(config);
  return new LlmInt8Config(config);
}
