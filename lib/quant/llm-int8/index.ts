import type { JsonObject } from '../../checkpoint/json';
import { CheckpointError } from '../../errors';
import type { LinearModule, LinearSpec } from '../../nn/linear-module';
import type { ModuleContext } from '../../nn/module';
import { isNamed, type LinearRole, type QuantizationMethod } from '../method';
import type { LlmInt8Config } from './config';
import { LinearInt8 } from './linear-int8';

export { LlmInt8Config, type LlmInt8Options } from './config';
export { LinearInt8 } from './linear-int8';

/** LLM.int8() as a method that the loader can use. */
export class LlmInt8Method implements QuantizationMethod {
  readonly method = 'llm.int8';
  readonly config: LlmInt8Config;
  /** Whether full-precision layers are to be quantized (not when only reading an 8-bit model). */
  readonly #onLoad: boolean;

  constructor(config: LlmInt8Config, onLoad: boolean) {
    this.config = config;
    this.#onLoad = onLoad;
  }

  isStored({ source }: ModuleContext, name: string): boolean {
    const quantized = source.has(`${name}.SCB`);
    if (quantized) return true;
    if (source.has(`${name}.weight`) && source.describe(`${name}.weight`).dtype === 'i8') {
      throw new CheckpointError(
        `${name}.weight is int8, but its scales ${name}.SCB are missing: the 8-bit checkpoint is ` +
          'incomplete, save or fetch it again',
      );
    }
    return false;
  }

  quantizes(name: string, role: LinearRole): boolean {
    if (!this.#onLoad || isNamed(name, this.config.skipModules)) return false;
    return role === 'layer' || this.config.quantizeHead;
  }

  create(context: ModuleContext, spec: LinearSpec): LinearModule {
    return new LinearInt8(context, spec, this.config);
  }

  /** Exactly what transformers writes for bitsandbytes. */
  diskConfig(): JsonObject {
    const { threshold, skipModules, quantizeHead } = this.config;
    const explicit = skipModules.length > 0 || quantizeHead;
    const head = quantizeHead ? [] : ['lm_head'];
    return {
      quant_method: 'bitsandbytes',
      _load_in_8bit: true,
      _load_in_4bit: false,
      load_in_8bit: true,
      load_in_4bit: false,
      llm_int8_threshold: threshold,
      llm_int8_skip_modules: explicit ? [...new Set([...skipModules, ...head])] : null,
      llm_int8_enable_fp32_cpu_offload: false,
      llm_int8_has_fp16_weight: false,
      bnb_4bit_compute_dtype: 'float32',
      bnb_4bit_quant_storage: 'uint8',
      bnb_4bit_quant_type: 'fp4',
      bnb_4bit_use_double_quant: false,
    };
  }
}
