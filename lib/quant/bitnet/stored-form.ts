import { CheckpointError } from '../../errors';
import { diskName, type LinearPart, type LinearSpec } from '../../nn/linear-module';
import type { ModuleContext } from '../../nn/module';
import { expectShape } from '../../nn/parameter';

/** Whether a part is stored packed; else it is full-precision weights to ternarize. */
export function isPacked({ source }: ModuleContext, name: string): boolean {
  return source.has(`${name}.weight_scale`);
}

/**
 * Checks the shapes and dtypes of a part's tensors.
 * @throws CheckpointError naming the tensor, what was found and what was expected
 */
export function checkPart(context: ModuleContext, spec: LinearSpec, part: LinearPart): void {
  const name = diskName(spec, part);
  if (!isPacked(context, name)) {
    expectShape(context, `${name}.weight`, [part.outFeatures, spec.inFeatures]);
    return;
  }
  if (part.outFeatures % 4 !== 0) {
    throw new CheckpointError(
      `${name} has ${part.outFeatures} outputs, which four rows in a byte do not divide: ` +
        'config.json and the weights do not belong together',
    );
  }
  const { dtype, shape } = context.source.describe(`${name}.weight`);
  const expected = [part.outFeatures / 4, spec.inFeatures];
  if (dtype !== 'u8' || (shape && shape.join() !== expected.join())) {
    throw new CheckpointError(
      `${name}.weight is ${dtype}[${shape?.join(', ')}], but packed ternary weights of a layer ` +
        `with ${part.outFeatures} outputs and ${spec.inFeatures} inputs are u8[${expected.join(', ')}]`,
    );
  }
  const scale = context.source.describe(`${name}.weight_scale`);
  const count = scale.shape?.reduce((product, extent) => product * extent, 1);
  if (!['f32', 'f16', 'bf16'].includes(scale.dtype) || count !== 1) {
    throw new CheckpointError(
      `${name}.weight_scale is ${scale.dtype}[${scale.shape?.join(', ')}], but one float is expected`,
    );
  }
}
