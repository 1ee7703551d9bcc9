import * as z from 'zod';
import type { JsonObject } from '../checkpoint/json';
import { OptionsError, UnsupportedError } from '../errors';
import { GptqMethod } from './gptq';
import { LlmInt8Config, LlmInt8Method, type LlmInt8Options } from './llm-int8';
import type { QuantizationMethod } from './method';

export { LlmInt8Config, type LlmInt8Options } from './llm-int8';
export type { QuantizationMethod } from './method';

/** What `quantization` takes: a config class, or the same as a plain object with its `method`. */
export type QuantizationConfig = LlmInt8Config | ({ method: 'llm.int8' } & LlmInt8Options);

const METHODS = ['llm.int8'];

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
    // Also reads int8 layers that the tensors alone give away, and refuses GPTQ ones.
    const int8 = new LlmInt8Method(config ?? new LlmInt8Config(), config !== undefined);
    return [new GptqMethod(), int8];
  }
  if (isGptq(stored)) {
    if (!config) return [new GptqMethod(stored)];
    throw new OptionsError(
      `the checkpoint is quantized by GPTQ already: ${config.method} needs the original model`,
    );
  }
  const { quant_method: method, load_in_4bit: fourBit } = stored;
  const isInt8 = (method ?? 'bitsandbytes') === 'bitsandbytes' && stored.load_in_8bit === true;
  if (!isInt8 || fourBit === true) {
    const found = `${String(method)}${fourBit === true ? ' in 4 bits' : ''}`;
    throw new UnsupportedError(
      `the checkpoint is quantized by ${found}; supported: gptq, and bitsandbytes in 8 bits ` +
        '(LLM.int8())',
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
export function parseQuantization(config: QuantizationConfig): LlmInt8Config {
  if (config instanceof LlmInt8Config) return config;
  const { method } = z.looseObject({ method: z.string() }).catch({ method: 'none' }).parse(config);
  if (!METHODS.includes(method)) {
    throw new OptionsError(
      `unknown quantization method '${method}'; available: ${METHODS.join(', ')}`,
    );
  }
  return new LlmInt8Config(config);
}
