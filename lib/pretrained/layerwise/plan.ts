import type { JsonObject } from '../../checkpoint/json';
import { UnsupportedError } from '../../errors';
import { Linear, TiedLinear } from '../../nn/linear';
import { type LinearModule, partRows } from '../../nn/linear-module';
import type { Module } from '../../nn/module';
import type { GptqLayerConfig } from '../../quant/gptq/checkpoint-config';

/** A linear layer that is going to be quantized. */
export interface Target extends GptqLayerConfig {
  /** Prefix of its tensors. */
  readonly name: string;
  readonly parameters: number;
  readonly inFeatures: number;
}

/** What is loaded, quantized and saved together: one decoder layer, or the head. */
export interface Stage {
  /** Which decoder layer. */
  readonly layer: number | 'head';
  readonly targets: ReadonlyMap<string, Target>;
}

/** Which layers of a model are quantized, and how. */
export interface Plan {
  readonly stages: readonly Stage[];
  /** Layers whose extents are no multiples of 32, so that their codes cannot be packed. */
  readonly unpackable: readonly string[];
  /** `quantization_config` of the result's config.json. */
  readonly diskConfig: JsonObject;
}

/** Whether a module is the output projection: of the modules outside of layers, the one so named. */
export function isHead(module: Module): boolean {
  return module.name === 'lm_head';
}

/**
 * The linear layers in a module; none when it is of another kind.
 * @throws UnsupportedError when they are quantized already
 */
export function linearParts(
  module: Module,
): { name: string; inFeatures: number; outFeatures: number }[] {
  if (!isLinear(module)) return [];
  if (!(module instanceof Linear || module instanceof TiedLinear)) {
    throw new UnsupportedError(
      `${module.name} is quantized already (${module.method}): the original model is needed`,
    );
  }
  const { inFeatures } = module.spec;
  return partRows(module.spec).map(({ part, begin, end }) => ({
    name: part.name,
    inFeatures,
    outFeatures: end - begin,
  }));
}

export function isLinear(module: Module): module is LinearModule {
  return 'spec' in module;
}
