import { OptionsError } from '../../errors';
import type { Transformer } from '../../models/transformer';
import type { Module } from '../../nn/module';
import { GptqCheckpointConfig } from '../../quant/gptq/checkpoint-config';
import type { GptqConfig } from '../../quant/gptq/config';
import { isPackable } from '../../quant/gptq/quantized-layer';
import { isHead, linearParts, type Plan, type Stage, type Target } from '../layerwise/plan';

/**
 * Decides from shapes alone what GPTQ quantizes.
 * @throws UnsupportedError when the model is quantized already, OptionsError when nothing is left to
 * quantize
 */
export function makePlan({ layers, modules }: Transformer, config: GptqConfig): Plan {
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
