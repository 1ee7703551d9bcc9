import type { JsonObject } from '../../checkpoint/json';
import { CheckpointError } from '../../errors';
import type { LinearModule, LinearSpec } from '../../nn/linear-module';
import type { ModuleContext } from '../../nn/module';
import { isNamed, type LinearRole, type QuantizationMethod } from '../method';
import { BitLinear } from './bit-linear';
import { BitnetCheckpointConfig } from './checkpoint-config';
import type { BitnetConfig } from './config';
import { Int8Head } from './int8-head';
import { isPacked } from './stored-form';

export { BitLinear } from './bit-linear';
export { BitnetConfig, type BitnetOptions } from './config';
export { damageOf } from './damage';

/** How fewbit writes ternary layers: as the published 2B4T checkpoint has them. */
const DISK_CONFIG: JsonObject = {
  quant_method: 'bitnet',
  linear_class: 'autobitlinear',
  quantization_mode: 'offline',
};

/** The methods that read, make and run BitNet layers, with the head in int8 if that is wanted. */
export function bitnetMethods(
  config: BitnetConfig,
  stored: JsonObject = DISK_CONFIG,
): QuantizationMethod[] {
  return [new BitnetMethod(config, stored), new Int8Head(config.lmHead === 'int8')];
}

/** BitNet b1.58 as a method that the loader can use: packed layers, or masters to ternarize. */
export class BitnetMethod implements QuantizationMethod {
  readonly method = 'bitnet';
  readonly #config: BitnetCheckpointConfig | undefined;
  readonly #skipped: readonly string[];

  /** @param stored what the checkpoint says; without it no layer may be in this format */
  constructor(config?: BitnetConfig, stored?: JsonObject) {
    this.#config = stored && new BitnetCheckpointConfig(stored);
    this.#skipped = [...(config?.skipModules ?? []), ...(this.#config?.skipModules ?? [])];
  }

  isStored(context: ModuleContext, name: string): boolean {
    const { source } = context;
    const bytes = source.has(`${name}.weight`) && source.describe(`${name}.weight`).dtype === 'u8';
    if (!this.#config) {
      if (!bytes || !isPacked(context, name)) return false;
      throw new CheckpointError(
        `${name}.weight is a packed weight, but config.json has no quantization_config that says ` +
          'what its weight_scale means: fetch config.json again',
      );
    }
    if (bytes && !isPacked(context, name)) {
      throw new CheckpointError(
        `${name}.weight is packed, but its scale ${name}.weight_scale is missing: the checkpoint is ` +
          'incomplete, save or fetch it again',
      );
    }
    return isPacked(context, name);
  }

  quantizes(name: string, role: LinearRole): boolean {
    return this.#config !== undefined && role === 'layer' && !isNamed(name, this.#skipped);
  }

  create(context: ModuleContext, spec: LinearSpec): LinearModule {
    return new BitLinear(context, spec, this.#config as BitnetCheckpointConfig);
  }

  diskConfig(): JsonObject {
    const [skipped, eps] = [this.#skipped, this.#config?.normEps];
    return {
      ...DISK_CONFIG,
      ...(skipped.length > 0
        ? { modules_to_not_convert: [...new Set(['lm_head', ...skipped])] }
        : {}),
      ...(eps !== undefined ? { use_rms_norm: true, rms_norm_eps: eps } : {}),
    };
  }
}
