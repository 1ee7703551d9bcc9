import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Folders, sourceOf, writeFolder } from './checkpoints';
import { goldenFolder, type RawTensor, readTensors } from './golden';

export type Tensors = Map<string, RawTensor>;

export interface Variant {
  tensors?: (tensors: Tensors) => void;
  /** Laid over `quantization_config`; undefined removes a key. */
  quantization?: Record<string, unknown>;
  /** Laid over the rest of config.json. */
  config?: Record<string, unknown>;
  /** No `quantization_config` at all. */
  bare?: boolean;
}

/** A copy of a golden GPTQ checkpoint with some tensors and settings changed. */
export async function gptqVariant(
  folders: Folders,
  golden: string,
  { tensors: change, quantization, config: fields, bare = false }: Variant,
): Promise<string> {
  const origin = goldenFolder(golden);
  const tensors = readTensors(join(origin, 'model.safetensors'));
  change?.(tensors);
  const text = readFileSync(join(origin, 'config.json'), 'utf8');
  const { quantization_config: own, ...rest } = JSON.parse(text) as Record<string, object>;
  const config = { ...rest, ...fields };
  const folder = folders.path();
  await writeFolder(
    folder,
    bare ? config : { ...config, quantization_config: { ...own, ...quantization } },
    [...tensors].map(([name, tensor]) => sourceOf(name, tensor)),
  );
  return folder;
}

export function int32(shape: number[], data: ArrayLike<number>): RawTensor {
  return { dtype: 'I32', shape, bytes: new Uint8Array(Int32Array.from(data).buffer) };
}

export function int32sOf(tensors: Tensors, name: string): Int32Array {
  return new Int32Array((tensors.get(name) as RawTensor).bytes.buffer);
}
