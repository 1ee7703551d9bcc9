import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TensorSource, writeSafetensors } from '../../lib/checkpoint/safetensors-writer';
import type { DType } from '../../lib/native';
import type { RawTensor } from './golden';
import { encode } from './host-tensor';
import { normals } from './tensors';

/** Folders for one test file, removed by `dispose`. */
export class Folders {
  readonly #root = mkdtempSync(join(tmpdir(), 'fewbit-test-'));
  #next = 0;

  /** The path of a folder that does not exist yet. */
  path(): string {
    return join(this.#root, `${this.#next++}`);
  }

  dispose(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }
}

export const TINY_LLAMA = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 71,
  hidden_size: 36,
  head_dim: 18,
  intermediate_size: 50,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: false,
};

/** Shapes of all tensors of a `TINY_LLAMA`; none of the widths is a multiple of 16. */
export function tinyShapes(tied: boolean): Record<string, number[]> {
  const shapes: Record<string, number[]> = { 'model.embed_tokens.weight': [71, 36] };
  for (const layer of ['model.layers.0', 'model.layers.1']) {
    Object.assign(shapes, {
      [`${layer}.input_layernorm.weight`]: [36],
      [`${layer}.self_attn.q_proj.weight`]: [36, 36],
      [`${layer}.self_attn.k_proj.weight`]: [18, 36],
      [`${layer}.self_attn.v_proj.weight`]: [18, 36],
      [`${layer}.self_attn.o_proj.weight`]: [36, 36],
      [`${layer}.post_attention_layernorm.weight`]: [36],
      [`${layer}.mlp.gate_proj.weight`]: [50, 36],
      [`${layer}.mlp.up_proj.weight`]: [50, 36],
      [`${layer}.mlp.down_proj.weight`]: [36, 50],
    });
  }
  return {
    ...shapes,
    'model.norm.weight': [36],
    ...(tied ? {} : { 'lm_head.weight': [71, 36] }),
  };
}

export interface TinyOptions {
  dtype?: DType;
  tied?: boolean;
  /** Input columns of every linear layer that are made this many times smaller. */
  faint?: { columns: readonly number[]; factor: number };
  config?: Record<string, unknown>;
}

/** Writes a small Llama with random weights; returns its weights by tensor name. */
export async function writeTinyLlama(
  folder: string,
  { dtype = 'f16', tied = false, faint, config = {} }: TinyOptions = {},
): Promise<Map<string, Float64Array>> {
  const weights = new Map<string, Float64Array>();
  let seed = 1;
  for (const [name, shape] of Object.entries(tinyShapes(tied))) {
    const [rows, cols] = shape as [number, number?];
    const isNorm = cols === undefined;
    const data = normals(rows * (cols ?? 1), seed++, isNorm ? 0.1 : 0.2);
    if (isNorm) for (let i = 0; i < rows; i++) data[i] = 1 + (data[i] as number);
    if (cols && faint && /_proj/.test(name)) {
      for (let i = 0; i < data.length; i++) {
        if (faint.columns.includes(i % cols)) data[i] = (data[i] as number) / faint.factor;
      }
    }
    weights.set(name, data);
  }
  const sources = [...weights].map(([name, data]): TensorSource => {
    const shape = tinyShapes(tied)[name] as number[];
    return { name, dtype, shape, data: encode(data, dtype) };
  });
  const names = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' } as Record<string, string>;
  const fields = { ...TINY_LLAMA, tie_word_embeddings: tied, dtype: names[dtype], ...config };
  await writeFolder(folder, fields, sources);
  return weights;
}

/** Writes config.json and model.safetensors. */
export async function writeFolder(
  folder: string,
  config: Record<string, unknown>,
  tensors: Iterable<TensorSource>,
): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
}

/** What was read from a file, as something to write. */
export function sourceOf(name: string, { dtype, shape, bytes }: RawTensor): TensorSource {
  return { name, dtype: dtype.toLowerCase() as TensorSource['dtype'], shape, data: bytes };
}
