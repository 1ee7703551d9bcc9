import { OptionsError, UnsupportedError } from '../../errors';
import type { Transformer } from '../../models/transformer';
import { isPackable } from '../../quant/gptq/quantized-layer';
import { type RptqConfig, rptqDiskConfig } from '../../quant/rptq';
import { groupSizes } from '../../quant/rptq/layer-design';
import { headShape, layerPoints } from '../../quant/rptq/layer-points';
import { linearParts, type Plan, type Stage, type Target } from '../layerwise/plan';

/**
 * Decides from shapes alone what RPTQ quantizes.
 * @throws UnsupportedError when the model's norms cannot be reordered, its layers do not divide into
 * groups, or it is quantized already; OptionsError for group sizes that no layer can have
 * @param longest window, in tokens
 */
export function makePlan(
  { layers, config: model }: Transformer,
  config: RptqConfig,
  longest: number,
): Plan {
  const { weights } = config.widths;
  const shape = headShape(model);
  const stages = layers.map((modules, layer): Stage => {
    const points = layerPoints(model, layer);
    const linears = modules.flatMap(linearParts);
    if (weights === 16) return { layer, targets: new Map() };
    for (const { name, inFeatures, outFeatures } of linears) {
      if (isPackable(inFeatures, outFeatures)) continue;
      throw new UnsupportedError(
        `rptq: ${name} is ${outFeatures} x ${inFeatures}, but widths must be multiples of 32`,
      );
    }
    const inner = linears.find(({ name }) => name === points.down)?.inFeatures as number;
    const sizes = groupSizes(points, { ...shape, hidden: model.hiddenSize, inner }, config);
    const targets = linears.map(({ name, inFeatures, outFeatures }): Target => {
      const parameters = inFeatures * outFeatures;
      const groupSize = sizes.get(name) as number;
      return { name, parameters, inFeatures, bits: weights, groupSize, sym: false };
    });
    return { layer, targets: new Map(targets.map((target) => [target.name, target])) };
  });
  checkGroups(stages, config);
  return { stages, unpackable: [], diskConfig: rptqDiskConfig(config, longest) };
}

function checkGroups(stages: readonly Stage[], { groupSize }: RptqConfig): void {
  if (groupSize === undefined) return;
  const targets = stages.flatMap((stage) => [...stage.targets.values()]);
  if (targets.length === 0 || targets.some((target) => target.groupSize === groupSize)) return;
  throw new OptionsError(`rptq: no layer has inputs that divide into groups of ${groupSize}`);
}
