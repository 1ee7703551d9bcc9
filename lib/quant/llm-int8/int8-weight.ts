import { CheckpointError } from '../../errors';
import type { Command, DType } from '../../native';
import {
  diskName,
  type LinearPart,
  type LinearSpec,
  outFeatures,
  partRows,
} from '../../nn/linear-module';
import type { ModuleContext } from '../../nn/module';
import { castCommand, loadRows } from '../../nn/parameter';
import { alignInt8, type Int8Weight } from '../../ops';
import { hostArray, sizeOf, type Tensor } from '../../tensor';
import type { LlmInt8Config } from './config';
import { type KeptColumns, keepColumns, readKeptColumns } from './kept-columns';

/** Row formats that bitsandbytes has used; only the first is a plain matrix. */
const WEIGHT_FORMATS = ['row', 'col32', 'col_turing', 'col_ampere'];

/** Reads the layer as it is in an 8-bit checkpoint: `weight` int8, `SCB`, `weight_format`. */
export async function loadStored(
  context: ModuleContext,
  spec: LinearSpec,
  config: LlmInt8Config,
): Promise<Int8Weight> {
  const { device, source } = context;
  const weight = allocate(context, spec);
  for (const { part, begin, end } of partRows(spec)) {
    const name = diskName(spec, part);
    await checkStored(context, name, part, spec.inFeatures);
    using rows = weight.codes.rows(begin, end);
    using codes = rows.columns(0, spec.inFeatures);
    using scales = weight.scales.rows(begin, end);
    await device.submit([source.load(`${name}.weight`, codes), source.load(`${name}.SCB`, scales)]);
  }
  const bias = await loadBias(context, spec);
  const kept = config.mode === 'paper' ? await readKeptColumns(context, spec) : undefined;
  return { ...weight, bias, ...kept };
}

/** Quantizes the layer from full precision; the original weight is on the device only meanwhile. */
export async function quantize(
  context: ModuleContext,
  spec: LinearSpec,
  config: LlmInt8Config,
): Promise<Int8Weight> {
  const weight = allocate(context, spec);
  using original = await loadOriginal(context, spec, config);
  await context.device.submit([quantizeCommand(original, weight)]);
  const keeps = config.mode === 'paper' && config.keptColumns === 'auto' && config.threshold > 0;
  const kept: KeptColumns | undefined = keeps
    ? await keepColumns(context, original, weight)
    : undefined;
  return { ...weight, bias: await loadBias(context, spec), ...kept };
}

/** Bytes of codes and scales, padding included, and of the bias. */
export function int8Bytes(context: ModuleContext, spec: LinearSpec): number {
  const rows = outFeatures(spec);
  const bias = spec.bias ? rows * sizeOf(biasDtype(context, spec)) : 0;
  return alignInt8(rows) * alignInt8(spec.inFeatures) + 4 * rows + bias;
}

function allocate({ device }: ModuleContext, spec: LinearSpec): { codes: Tensor; scales: Tensor } {
  const rows = outFeatures(spec);
  return {
    codes: device.allocate('i8', [alignInt8(rows), alignInt8(spec.inFeatures)]),
    scales: device.allocate('f32', [rows]),
  };
}

function quantizeCommand(original: Tensor, { codes, scales }: Int8Weight): Command {
  const tensors = [original.handle, codes.handle, scales.handle, null, null, null];
  return { kind: 'run', op: 'int8_quantize', tensors, attrs: [0, 0] };
}

/** The stacked full-precision weight. bitsandbytes casts to fp16 before it quantizes. */
async function loadOriginal(
  context: ModuleContext,
  spec: LinearSpec,
  config: LlmInt8Config,
): Promise<Tensor> {
  const { device, source } = context;
  const first = spec.parts[0] as LinearPart;
  const stored = source.describe(`${diskName(spec, first)}.weight`).dtype;
  const shape = [outFeatures(spec), spec.inFeatures];
  const wide = device.allocate(stored, shape);
  for (const { part, begin, end } of partRows(spec)) {
    await loadRows(context, `${diskName(spec, part)}.weight`, wide, { begin, end });
  }
  const dtype = workingDtype(context, stored, config);
  if (dtype === stored) return wide;
  const converted = device.allocate(dtype, shape);
  await device.submit([castCommand(wide, converted)]);
  wide.dispose();
  return converted;
}

function workingDtype(context: ModuleContext, stored: DType, config: LlmInt8Config): DType {
  if (config.mode === 'bitsandbytes') return 'f16';
  return context.device.type === 'cuda' ? context.activations : stored;
}

function biasDtype({ device, activations, source }: ModuleContext, spec: LinearSpec): DType {
  if (device.type === 'cuda') return activations;
  return source.describe(`${diskName(spec, spec.parts[0] as LinearPart)}.bias`).dtype;
}

async function loadBias(context: ModuleContext, spec: LinearSpec): Promise<Tensor | undefined> {
  if (!spec.bias) return undefined;
  const bias = context.device.allocate(biasDtype(context, spec), [outFeatures(spec)]);
  for (const { part, begin, end } of partRows(spec)) {
    await loadRows(context, `${diskName(spec, part)}.bias`, bias, { begin, end });
  }
  return bias;
}

async function checkStored(
  { source }: ModuleContext,
  name: string,
  part: LinearPart,
  inFeatures: number,
): Promise<void> {
  const weight = source.describe(`${name}.weight`);
  if (weight.dtype !== 'i8') {
    throw new CheckpointError(
      `${name}.SCB is there, so ${name}.weight should be int8, but it is ${weight.dtype}`,
    );
  }
  const scales = source.describe(`${name}.SCB`);
  if (scales.dtype !== 'f32') {
    throw new CheckpointError(`${name}.SCB is ${scales.dtype}, but scales must be f32`);
  }
  const shapes = `[${weight.shape}] and [${scales.shape}]`;
  if (shapes !== `[${[part.outFeatures, inFeatures]}] and [${part.outFeatures}]`) {
    throw new CheckpointError(
      `${name}.weight and ${name}.SCB have shapes ${shapes}, but the configuration asks for ` +
        `[${[part.outFeatures, inFeatures]}] and [${part.outFeatures}]`,
    );
  }
  const format = await source.scalar(`${name}.weight_format`);
  if (format !== undefined && format !== 0) {
    throw new CheckpointError(
      `${name}.weight is in the layout '${WEIGHT_FORMATS[format] ?? format}' of an old ` +
        "bitsandbytes; only 'row' can be read: load and save the model with bitsandbytes >= 0.45",
    );
  }
}

/** The codes of rows begin .. end without their padding, on the host. */
export async function readCodes(
  codes: Tensor,
  rows: { begin: number; end: number },
  inFeatures: number,
): Promise<Int8Array> {
  using view = codes.rows(rows.begin, rows.end);
  const padded = hostArray('i8', view.elements);
  await codes.device.submit([{ kind: 'read', tensor: view.handle, into: padded }]);
  const width = codes.shape[1] as number;
  if (width === inFeatures) return padded;
  const count = rows.end - rows.begin;
  const packed = new Int8Array(count * inFeatures);
  for (let row = 0; row < count; row++) {
    packed.set(padded.subarray(row * width, row * width + inFeatures), row * inFeatures);
  }
  return packed;
}
