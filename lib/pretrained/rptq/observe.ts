import type { Transformer } from '../../models/transformer';
import type { LayerObservations } from '../../quant/rptq/layer-design';
import type { HeadShape, LayerPoints } from '../../quant/rptq/layer-points';
import { floatRows, Observed } from '../../quant/rptq/observed';
import type { RotatedInput } from '../../quant/rptq/rotated-input';
import { rotateBlocks, rotationWidth } from '../../quant/rptq/rotation';
import { cacheRows } from '../cache-rows';
import type { Calibration } from '../layerwise/calibration';
import { QueryMoments } from '../query-moments';

/**
 * Watches what goes through a loaded layer of the original model for every calibration window.
 * @param rotates whether inputs of the output projection and the last are to be seen rotated, too
 */
export async function observeLayer(
  calibration: Calibration,
  model: Transformer,
  layer: number,
  points: LayerPoints,
  { heads, kvHeads, headDim }: HeadShape,
  rotates: boolean,
): Promise<LayerObservations> {
  const groups = calibration.groups(model, layer);
  const inputs = new Map<string, Observed>();
  const rotated = new Map<string, RotatedInput>();
  const query = new Observed(heads * headDim);
  const key = new Observed(kvHeads * headDim);
  const value = new Observed(kvHeads * headDim);
  using moments = new QueryMoments(model.device, { kvHeads, headDim });
  await calibration.show(
    model,
    layer,
    groups,
    ([first], x) => {
      const name = first as string;
      const seen = inputs.get(name) ?? new Observed(x.shape[1] as number);
      inputs.set(name, seen);
      const rows = floatRows(x);
      seen.add(rows);
      if (!rotates || (name !== points.output && name !== points.down)) return;
      const width = rotationWidth(seen.channels);
      const other = rotated.get(name) ?? { observed: new Observed(seen.channels), width };
      rotated.set(name, other);
      other.observed.add(rotateBlocks(rows.slice(), width));
    },
    (q, cache) => {
      const tokens = q.shape[0] as number;
      query.addTensor(q);
      moments.add(q);
      key.add(cacheRows(cache.key, tokens));
      value.add(cacheRows(cache.value, tokens));
    },
  );
  const of = (name: string): Observed => inputs.get(name) as Observed;
  const rotatedOf = (name: string): RotatedInput => rotated.get(name) as RotatedInput;
  return {
    attention: of(points.query),
    output: of(points.output),
    inner: of(points.inner[0] as string),
    down: of(points.down),
    rotated: rotates
      ? { output: rotatedOf(points.output), down: rotatedOf(points.down) }
      : undefined,
    query,
    key,
    value,
    moments: moments.values(),
  };
}
