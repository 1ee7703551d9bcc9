import type { Transformer } from '../../models/transformer';
import type { Calibration } from './calibration';
import { HessianSet } from './hessians';

/**
 * Takes linear layers that share an input: their names, what was seen, and the share of each in the
 * time that showing took, in ms.
 */
export type QuantizeGroup = (names: readonly string[], hessians: HessianSet, share: number) => void;

/**
 * Shows the calibration windows to groups of a layer's linear layers and hands each to `quantize`, in
 * a scope of the device: one group after the other, each seeing those before it quantized, if
 * `trueSequential`, else all in one pass.
 */
export async function showGroups(
  calibration: Calibration,
  model: Transformer,
  layer: number,
  { groups, trueSequential }: { groups: readonly string[][]; trueSequential: boolean },
  quantize: QuantizeGroup,
): Promise<void> {
  const passes = trueSequential ? groups.map((names) => [names]) : [groups];
  for (const together of passes.filter(({ length }) => length > 0)) {
    const start = performance.now();
    using hessians = new HessianSet(model.device);
    await calibration.show(model, layer, together, (names, x) => hessians.add(names, x));
    const share = (performance.now() - start) / together.flat().length;
    for (const names of together) {
      model.device.scope(() => {
        quantize(names, hessians, share);
        return undefined;
      });
    }
  }
}
