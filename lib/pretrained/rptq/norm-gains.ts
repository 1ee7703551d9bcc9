import type { Transformer } from '../../models/transformer';
import type { StoredTensor } from '../../nn/module';
import { cast, scaleColumns } from '../../ops';
import { rowsOf } from '../layerwise/model-parts';

/** The largest size of a weight in each column of some loaded layers with one input. */
export function columnSizes(model: Transformer, names: readonly string[]): Float32Array {
  let sizes: Float32Array | undefined;
  for (const name of names) {
    const { module, begin, end } = rowsOf(model, name);
    const values = model.device.scope(() =>
      cast(module.weight.rows(begin, end), 'f32').readFloats(),
    );
    const columns = values.length / (end - begin);
    sizes ??= new Float32Array(columns);
    for (let at = 0; at < values.length; at += columns) {
      for (let k = 0; k < columns; k++) {
        const size = Math.abs(values[at + k] as number);
        if (size > (sizes[k] as number)) sizes[k] = size;
      }
    }
  }
  return sizes as Float32Array;
}

/** Whether a norm has gains that can take something in. */
export function hasGains({ context: { source } }: Transformer, norm: string): boolean {
  return source.has(`${norm}.weight`);
}

/** Gains and biases of a norm with divided channels, in the dtype that the checkpoint has them in. */
export async function dividedNorm(
  { device, context: { source } }: Transformer,
  norm: string,
  divisors: Float32Array,
): Promise<StoredTensor[]> {
  const names = [`${norm}.weight`, `${norm}.bias`].filter((name) => source.has(name));
  const tensors: StoredTensor[] = [];
  for (const name of names) {
    const { dtype } = source.describe(name);
    const columns = divisors.length;
    using stored = device.allocate(dtype, [1, columns]);
    await device.submit([source.load(name, stored)]);
    const values = device.scope(() => {
      const factors = device.empty('f32', [columns]).write(divisors.map((divisor) => 1 / divisor));
      return cast(scaleColumns(cast(stored, 'f32'), factors), dtype).read();
    });
    tensors.push({ name, dtype, shape: [columns], read: async () => values });
  }
  return tensors;
}
