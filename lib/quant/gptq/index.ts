import type { JsonObject } from '../../checkpoint/json';
import { CheckpointError } from '../../errors';
import type { LinearModule, LinearSpec } from '../../nn/linear-module';
import type { ModuleContext } from '../../nn/module';
import type { QuantizationMethod } from '../method';
import { GptqCheckpointConfig } from './checkpoint-config';
import { LinearGptq } from './linear-gptq';

export { GptqCheckpointConfig } from './checkpoint-config';
export { LinearGptq } from './linear-gptq';

/** GPTQ checkpoints (arXiv 2210.17323) of AutoGPTQ, GPTQModel, optimum and fewbit itself. */
export class GptqMethod implements QuantizationMethod {
  readonly method = 'gptq';
  readonly #config: GptqCheckpointConfig | undefined;

  /** @param quantization what the checkpoint says; without it no layer may be in this format */
  constructor(quantization?: JsonObject) {
    this.#config = quantization && new GptqCheckpointConfig(quantization);
  }

  /** Layers are told by their tensors alone: lists of modules in configurations are often wrong. */
  isStored({ source }: ModuleContext, name: string): boolean {
    const stored = source.has(`${name}.qweight`);
    if (stored && !this.#config) {
      throw new CheckpointError(
        `${name}.qweight is a quantized weight, but neither config.json nor quantize_config.json ` +
          'says how it was quantized: fetch the missing file',
      );
    }
    return stored;
  }

  /** Calibration takes more than one pass: see `fewbit quantize`. */
  quantizes(): boolean {
    return false;
  }

  create(context: ModuleContext, spec: LinearSpec): LinearModule {
    return new LinearGptq(context, spec, this.config);
  }

  diskConfig(): JsonObject {
    return this.config.diskConfig();
  }

  private get config(): GptqCheckpointConfig {
    if (!this.#config) throw new CheckpointError('the checkpoint has no GPTQ configuration');
    return this.#config;
  }
}
