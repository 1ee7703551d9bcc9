import { diskName, type LinearSpec, outFeatures, partRows } from '../../nn/linear-module';
import type { ModuleContext } from '../../nn/module';
import { loadFloat } from '../../nn/parameter';
import type { Int8Weight } from '../../ops';
import { hostArray, type Tensor } from '../../tensor';

/** Columns of a weight that stay in 16 bits beside its int8 codes. */
export type KeptColumns = Pick<Int8Weight, 'kept' | 'keptSlots'>;

/**
 * A column that int8 represents worse than this, |w - q| / |w|, is kept. With one scale per row an
 * ordinary column of a Gaussian weight comes to 0.008 .. 0.012. Columns whose input is an outlier
 * feature tend to be small against their rows, so few codes are left for them, while the large
 * activation multiplies whatever error they have.
 */
const WORST_ERROR = 0.03;
/** At most this share of the columns is kept, the worst ones. */
const LARGEST_SHARE = 0.02;

/** Suffixes on disk, in a file beside the 8-bit checkpoint that other programs need not know. */
export const KEPT_COLUMNS_SUFFIX = 'outlier_columns';
export const KEPT_WEIGHT_SUFFIX = 'outlier_weight';

/** Picks the columns that int8 represents worst and copies them out of the original weight. */
export async function keepColumns(
  { device }: ModuleContext,
  original: Tensor,
  weight: Int8Weight,
): Promise<KeptColumns | undefined> {
  using error = device.allocate('f32', [original.shape[1] as number]);
  const inputs = [original.handle, weight.codes.handle, weight.scales.handle, error.handle];
  const errors = new Float32Array(error.elements);
  await device.submit([
    { kind: 'run', op: 'int8_column_error', tensors: inputs, attrs: [] },
    { kind: 'read', tensor: error.handle, into: errors },
  ]);
  const columns = worstColumns(errors);
  if (columns.length === 0) return undefined;
  const kept = device.allocate(original.dtype, [columns.length, original.shape[0] as number]);
  using index = device.from('i32', [columns.length], Int32Array.from(columns));
  const tensors = [original.handle, index.handle, kept.handle];
  await device.submit([{ kind: 'run', op: 'gather_columns', tensors, attrs: [] }]);
  return { kept, keptSlots: slotsOf(device, columns, original.shape[1] as number) };
}

/** Ascending indices of the columns to keep. */
export function worstColumns(errors: Float32Array): number[] {
  const limit = Math.max(1, Math.floor(errors.length * LARGEST_SHARE));
  return [...errors.keys()]
    .filter((column) => (errors[column] as number) > WORST_ERROR)
    .sort((a, b) => (errors[b] as number) - (errors[a] as number))
    .slice(0, limit)
    .sort((a, b) => a - b);
}

/** Reads what an earlier save kept; the parts of a stacked layer must have kept the same columns. */
export async function readKeptColumns(
  context: ModuleContext,
  spec: LinearSpec,
): Promise<KeptColumns | undefined> {
  const { device, source, activations } = context;
  const names = spec.parts.map((part) => diskName(spec, part));
  if (!names.every((name) => source.has(`${name}.${KEPT_WEIGHT_SUFFIX}`))) return undefined;
  const columns = await Promise.all(names.map((name) => readColumns(context, name)));
  const [first] = columns as [Int32Array];
  if (!columns.every((other) => other.join() === first.join())) return undefined;
  const stored = source.describe(`${names[0]}.${KEPT_WEIGHT_SUFFIX}`).dtype;
  const dtype = device.type === 'cuda' ? activations : stored;
  const total = outFeatures(spec);
  const host = hostArray('f32', first.length * total);
  for (const { part, begin, end } of partRows(spec)) {
    using piece = device.allocate('f32', [first.length, end - begin]);
    await loadFloat(context, `${diskName(spec, part)}.${KEPT_WEIGHT_SUFFIX}`, piece);
    const values = piece.read() as Float32Array;
    for (let slot = 0; slot < first.length; slot++) {
      const row = values.subarray(slot * (end - begin), (slot + 1) * (end - begin));
      host.set(row, slot * total + begin);
    }
  }
  using wide = device.from('f32', [first.length, total], host);
  const kept = device.allocate(dtype, [first.length, total]);
  device.run('cast', [wide, kept]);
  return { kept, keptSlots: slotsOf(device, [...first], spec.inFeatures) };
}

async function readColumns({ device, source }: ModuleContext, name: string): Promise<Int32Array> {
  const { shape } = source.describe(`${name}.${KEPT_COLUMNS_SUFFIX}`);
  using columns = device.allocate('i32', [...(shape ?? [])]);
  await device.submit([source.load(`${name}.${KEPT_COLUMNS_SUFFIX}`, columns)]);
  return columns.read() as Int32Array;
}

function slotsOf(device: Tensor['device'], columns: number[], inFeatures: number): Tensor {
  const slots = new Int32Array(inFeatures).fill(-1);
  for (const [slot, column] of columns.entries()) slots[column] = slot;
  return device.from('i32', [inFeatures], slots);
}
