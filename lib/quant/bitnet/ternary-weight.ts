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
import { castCommand, expectShape, loadFloat, loadRows, residentDtype } from '../../nn/parameter';
import { type BitnetWeight, bitnetRowBytes } from '../../ops';
import { sizeOf, type Tensor } from '../../tensor';
import type { BitnetCheckpointConfig } from './checkpoint-config';
import { isPacked } from './stored-form';

/** A trained model's mean weight is far below 1: a larger scale has been read the wrong way. */
const LARGEST_GAMMA = 10;

/** Bytes of codes, scales and bias. */
export function ternaryBytes(context: ModuleContext, spec: LinearSpec): number {
  const rows = outFeatures(spec);
  const bias = spec.bias ? rows * sizeOf(biasDtype(context, spec)) : 0;
  return rows * (bitnetRowBytes(spec.inFeatures) + 4) + bias;
}

/** A stacked weight, and what is known of each of its parts. */
export interface LoadedTernary {
  readonly weight: BitnetWeight;
  readonly parts: readonly LoadedPart[];
}

export interface LoadedPart {
  /** The scale of its weights. */
  readonly gamma: number;
  /** What ternarizing lost of full-precision weights: |w - gamma t| / |w|, of a sample of them. */
  readonly error?: number;
}

/** Reads the parts, repacking what is packed and ternarizing what is not. */
export async function loadTernary(
  context: ModuleContext,
  spec: LinearSpec,
  config: BitnetCheckpointConfig,
): Promise<LoadedTernary> {
  const { device } = context;
  const rows = outFeatures(spec);
  const codes = device.allocate('u8', [rows, bitnetRowBytes(spec.inFeatures)]);
  const scales = new Float32Array(rows);
  const parts: LoadedPart[] = [];
  for (const { part, begin, end } of partRows(spec)) {
    const name = diskName(spec, part);
    using own = codes.rows(begin, end);
    const read = isPacked(context, name) ? loadPacked : ternarize;
    const loaded = await read(context, { name, inFeatures: spec.inFeatures, codes: own }, config);
    parts.push(loaded);
    scales.fill(loaded.gamma, begin, end);
  }
  const bias = await loadBias(context, spec, config, scales);
  return { weight: { codes, scales: device.from('f32', [rows], scales), bias }, parts };
}

interface PartTarget {
  name: string;
  inFeatures: number;
  /** u8[N, Kp / 4] */
  codes: Tensor;
}

async function loadPacked(
  context: ModuleContext,
  { name, inFeatures, codes }: PartTarget,
  config: BitnetCheckpointConfig,
): Promise<LoadedPart> {
  const { device, source } = context;
  using packed = device.allocate('u8', [(codes.shape[0] as number) / 4, inFeatures]);
  using invalid = device.allocate('i32', [1]);
  const found = new Int32Array(1);
  await device.submit([
    source.load(`${name}.weight`, packed),
    {
      kind: 'run',
      op: 'bitnet_repack',
      tensors: [packed.handle, codes.handle, invalid.handle],
      attrs: [],
    },
    { kind: 'read', tensor: invalid.handle, into: found },
  ]);
  if (found[0] !== 0) {
    throw new CheckpointError(
      `${name}.weight holds ${found[0]} codes of 3, which stand for no ternary weight: the file is ` +
        'damaged or packed in another way',
    );
  }
  return { gamma: await loadGamma(context, name, config) };
}

/** The scale of a packed matrix, whichever way the checkpoint writes it. */
async function loadGamma(
  context: ModuleContext,
  name: string,
  { scale, scaleKey }: BitnetCheckpointConfig,
): Promise<number> {
  using tensor = context.device.allocate('f32', [1]);
  await loadFloat(context, `${name}.weight_scale`, tensor);
  const stored = await readScalar(tensor);
  const gamma = scale === 'gamma' ? stored : Math.fround(1 / stored);
  if (gamma > 0 && gamma <= LARGEST_GAMMA) return gamma;
  const meaning = scale === 'gamma' ? 'the scale of the weights' : 'one over the scale';
  throw new CheckpointError(
    `${name}.weight_scale is ${stored}. By ${scaleKey} that is ${meaning}, which would make weights ` +
      `as large as ${gamma}: either the key or the file is wrong`,
  );
}

/** Absmean quantization of full-precision weights (arXiv 2402.17764, equations 1 to 3). */
async function ternarize(
  context: ModuleContext,
  { name, inFeatures, codes }: PartTarget,
): Promise<LoadedPart> {
  const { device, source } = context;
  const { dtype } = source.describe(`${name}.weight`);
  using master = device.allocate(dtype, [codes.shape[0] as number, inFeatures]);
  using gamma = device.allocate('f32', [1]);
  const run = (op: string, ...tensors: Tensor[]): Command => ({
    kind: 'run',
    op,
    tensors: tensors.map(({ handle }) => handle),
    attrs: [],
  });
  await device.submit([
    source.load(`${name}.weight`, master),
    run('bitnet_absmean', master, gamma),
    run('bitnet_ternarize', master, gamma, codes),
  ]);
  const found = await readScalar(gamma);
  if (!Number.isFinite(found)) {
    throw new CheckpointError(`${name}.weight holds NaN or infinities: it cannot be quantized`);
  }
  return { gamma: found, error: await ternaryError(context, master, found) };
}

/** Weights that are enough to tell what ternarizing a matrix loses. */
const SAMPLE = 65536;

async function ternaryError(
  { device }: ModuleContext,
  master: Tensor,
  gamma: number,
): Promise<number> {
  const [rows, columns] = master.shape as [number, number];
  using some = master.rows(0, Math.min(rows, Math.ceil(SAMPLE / columns)));
  using wide = device.allocate('f32', [...some.shape]);
  const values = new Float32Array(wide.elements);
  await device.submit([
    castCommand(some, wide),
    { kind: 'read', tensor: wide.handle, into: values },
  ]);
  let [error, power] = [0, 0];
  for (const value of values) {
    const ternary = Math.abs(value) > gamma / 2 ? Math.sign(value) : 0;
    error += (value - gamma * ternary) ** 2;
    power += value ** 2;
  }
  return power === 0 ? 0 : Math.sqrt(error / power);
}

async function readScalar(tensor: Tensor): Promise<number> {
  const into = new Float32Array(1);
  await tensor.device.submit([{ kind: 'read', tensor: tensor.handle, into }]);
  return into[0] as number;
}

/** Packed biases are scaled on the host, in f32. */
function biasDtype(context: ModuleContext, spec: LinearSpec): DType {
  const name = diskName(spec, spec.parts[0] as LinearPart);
  if (isPacked(context, name)) return 'f32';
  return residentDtype(context, context.source.describe(`${name}.bias`).dtype);
}

/** transformers' AutoBitLinear multiplies its bias by gamma too, once weights are packed. */
async function loadBias(
  context: ModuleContext,
  spec: LinearSpec,
  { scale }: BitnetCheckpointConfig,
  gammas: Float32Array,
): Promise<Tensor | undefined> {
  if (!spec.bias) return undefined;
  const bias = context.device.allocate(biasDtype(context, spec), [outFeatures(spec)]);
  for (const { part, begin, end } of partRows(spec)) {
    const name = diskName(spec, part);
    expectShape(context, `${name}.bias`, [part.outFeatures]);
    await loadRows(context, `${name}.bias`, bias, { begin, end });
    if (scale !== 'gamma' || !isPacked(context, name)) continue;
    using rows = bias.rows(begin, end);
    const values = new Float32Array(end - begin);
    await context.device.submit([{ kind: 'read', tensor: rows.handle, into: values }]);
    const scaled = values.map((value) => value * (gammas[begin] as number));
    await context.device.submit([{ kind: 'write', tensor: rows.handle, data: scaled }]);
  }
  return bias;
}
