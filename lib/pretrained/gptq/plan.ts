import type { JsonObject } from '../../checkpoint/json';
import { OptionsError, UnsupportedError } from '../../errors';
import type { Transformer } from '../../models/transformer';
import { Linear, TiedLinear } from '../../nn/linear';
import { type LinearModule, partRows } from '../../nn/linear-module';
import type { Module } from '../../nn/module';
import { GptqCheckpointConfig, type GptqLayerConfig } from '../../quant/gptq/checkpoint-config';
import type { GptqConfig } from '../../quant/gptq/config';
import { isPackable } from '../../quant/gptq/quantized-layer';

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
export interface GptqPlan {
  readonly stages: readonly Stage[];
  /** Layers whose extents are no multiples of 32, so that their codes cannot be packed. */
  readonly unpackable: readonly string[];
  /** What quantize_config.json and config.json are to say. */
  readonly diskConfig: JsonObject;
}

/**
 * Decides from shapes alone what is quantized.
 * @throws UnsupportedError when the model is quantized already, OptionsError when nothing is left to
 * quantize
 */
export function makePlan({ layers, modules }: Transformer, config: GptqConfig): GptqPlan {
  const own = new GptqCheckpointConfig(config.diskConfig());
  const unpackable: string[] = [];
  const stageOf = (layer: Stage['layer'], candidates: readonly Module[]): Stage => {
    const targets = new Map<string, Target>();
    for (const { name, inFeatures, outFeatures } of candidates.flatMap(linearParts)) {
      if (own.skips(name)) continue;
      if (isPackable(inFeatures, outFeatures)) {
        const parameters = inFeatures * outFeatures;
        targets.set(name, { name, parameters, inFeatures, ...own.layerConfig(name) });
      } else unpackable.push(name);
    }
    return { layer, targets };
  };
  const stages = layers.map((own, i) => stageOf(i, own));
  if (config.lmHead) stages.push(stageOf('head', modules.filter(isHead)));
  if (stages.every(({ targets }) => targets.size === 0)) {
    const why = unpackable.length > 0 ? ` (${unpackable.join(', ')} cannot be packed)` : '';
    throw new OptionsError(`gptq: no layer is left to quantize${why}`);
  }
  return { stages, unpackable, diskConfig: config.diskConfig(unpackable) };
}

/** Whether a module is the output projection: of the modules outside of layers, the one so named. */
export function isHead(module: Module): boolean {
  return module.name === 'lm_head';
}

function linearParts(module: Module): { name: string; inFeatures: number; outFeatures: number }[] {
  if (!isLinear(module)) return [];
  if (!(module instanceof Linear || module instanceof TiedLinear)) {
    throw new UnsupportedError(
      `${module.name} is quantized already (${module.method}): GPTQ needs the original model`,
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
