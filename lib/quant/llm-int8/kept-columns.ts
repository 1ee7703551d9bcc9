import { CheckpointError } from '../../errors';
import {
  diskName,
  type LinearPart,
  type LinearSpec,
  outFeatures,
  partRows,
} from '../../nn/linear-module';
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
/** At most this share of the columns is kept, the worst ones; in narrow layers at most so many. */
const LARGEST_SHARE = 0.02;
const FEWEST_COLUMNS = 8;

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
  const limit = Math.max(FEWEST_COLUMNS, Math.floor(errors.length * LARGEST_SHARE));
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
  const columns = await Promise.all(spec.parts.map((part) => readColumns(context, spec, part)));
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

/** Which columns of a part were kept. @throws CheckpointError when they do not fit the layer */
async function readColumns(
  { device, source }: ModuleContext,
  spec: LinearSpec,
  part: LinearPart,
): Promise<Int32Array> {
  const name = diskName(spec, part);
  const index = source.describe(`${name}.${KEPT_COLUMNS_SUFFIX}`);
  const weight = source.describe(`${name}.${KEPT_WEIGHT_SUFFIX}`);
  const [count = -1] = index.shape ?? [];
  const fits =
    index.dtype === 'i32' &&
    ['f32', 'f16', 'bf16'].includes(weight.dtype) &&
    `${weight.shape}` === `${[count, part.outFeatures]}`;
  if (!fits) throw misfit(name);
  using columns = device.allocate('i32', [count]);
  await device.submit([source.load(`${name}.${KEPT_COLUMNS_SUFFIX}`, columns)]);
  const list = columns.read() as Int32Array;
  const ascends = list.every((column, i) => column > (list[i - 1] ?? -1));
  if (!ascends || (list[count - 1] ?? -1) >= spec.inFeatures) throw misfit(name);
  return list;
}

function misfit(name: string): CheckpointError {
  return new CheckpointError(
    `${name}.${KEPT_COLUMNS_SUFFIX} and ${name}.${KEPT_WEIGHT_SUFFIX} do not fit the layer: ` +
      'delete fewbit_outlier_columns.safetensors to do without them, or save the model again',
  );
}

function slotsOf(device: Tensor['device'], columns: number[], inFeatures: number): Tensor {
  const slots = new Int32Array(inFeatures).fill(-1);
  for (const [slot, column] of columns.entries()) slots[column] = slot;
  return device.from('i32', [inFeatures], slots);
}
