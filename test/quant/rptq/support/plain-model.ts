import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type RawTensor, readTensors } from '../../../support/golden';
import { decode } from '../../../support/host-tensor';

/** Rows of numbers. */
export type Matrix = Float64Array[];

/** May look at what goes through a model, and change it. */
export interface Taps {
  /** What linear layers read; `names` are those that share it. */
  input?(names: readonly string[], x: Matrix): Matrix;
  /** Rotated queries and keys, and values: a row per token, heads side by side. */
  attention?(layer: string, kind: 'query' | 'key' | 'value', x: Matrix): Matrix;
}

interface Config {
  model_type: string;
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads?: number;
  head_dim?: number;
  rope_theta?: number;
}

export type Weights = Map<string, Float64Array>;

/** Llama and OPT in double precision, written from their papers and nothing else. */
export class PlainModel {
  readonly config: Config;
  readonly weights: Weights;

  constructor(config: Config, weights: Weights) {
    this.config = config;
    this.weights = weights;
  }

  static read(folder: string): PlainModel {
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Config;
    const tensors = readTensors(join(folder, 'model.safetensors'));
    return new PlainModel(config, new Map([...tensors].map(([name, raw]) => [name, values(raw)])));
  }

  /** The prefix of a layer's tensors. */
  layer(i: number): string {
    return `${this.#isOpt ? 'model.decoder' : 'model'}.layers.${i}`;
  }

  /** Logits of every id. */
  forward(ids: readonly number[], taps: Taps = {}): Matrix {
    const root = this.#isOpt ? 'model.decoder' : 'model';
    const width = this.config.hidden_size;
    const embedding = this.#get(`${root}.embed_tokens.weight`);
    let x: Matrix = ids.map((id, position) => {
      const row = embedding.slice(id * width, (id + 1) * width);
      if (this.#isOpt) {
        const table = this.#get(`${root}.embed_positions.weight`);
        return row.map((value, k) => value + (table[(position + 2) * width + k] as number));
      }
      return row;
    });
    for (let i = 0; i < this.config.num_hidden_layers; i++) x = this.#layer(this.layer(i), x, taps);
    const hidden = this.#norm(this.#isOpt ? `${root}.final_layer_norm` : 'model.norm', x);
    const head = this.#isOpt ? embedding : this.#get('lm_head.weight');
    return product(hidden, head);
  }

  get #isOpt(): boolean {
    return this.config.model_type === 'opt';
  }

  #layer(name: string, x: Matrix, taps: Taps): Matrix {
    const own = (part: string): string => `${name}.${part}`;
    const read = (parts: string[], rows: Matrix): Matrix =>
      taps.input?.(parts.map(own), rows) ?? rows;
    const norms = this.#isOpt
      ? ['self_attn_layer_norm', 'final_layer_norm']
      : ['input_layernorm', 'post_attention_layernorm'];
    const qkv = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'];
    const normed = read(qkv, this.#norm(own(norms[0] as string), x));
    const [q, k, v] = qkv.map((part) => this.#linear(own(part), normed)) as [
      Matrix,
      Matrix,
      Matrix,
    ];
    const output = this.#isOpt ? 'self_attn.out_proj' : 'self_attn.o_proj';
    const mixed = read([output], this.#attention(own('self_attn'), [q, k, v], taps));
    const middle = sum(x, this.#linear(own(output), mixed));
    const inner = this.#isOpt ? ['fc1'] : ['mlp.gate_proj', 'mlp.up_proj'];
    const second = read(inner, this.#norm(own(norms[1] as string), middle));
    const [first, up] = inner.map((part) => this.#linear(own(part), second)) as [Matrix, Matrix];
    const active = first.map((row, t) =>
      row.map((value, k) =>
        up ? (value / (1 + Math.exp(-value))) * (up[t]?.[k] as number) : Math.max(value, 0),
      ),
    );
    const down = this.#isOpt ? 'fc2' : 'mlp.down_proj';
    return sum(middle, this.#linear(own(down), read([down], active)));
  }

  #attention(name: string, [q, k, v]: [Matrix, Matrix, Matrix], taps: Taps): Matrix {
    const { num_attention_heads: heads, num_key_value_heads: kvHeads = heads } = this.config;
    const dim = this.config.head_dim ?? this.config.hidden_size / heads;
    const tap = (kind: 'query' | 'key' | 'value', x: Matrix): Matrix =>
      taps.attention?.(name, kind, x) ?? x;
    const queries = tap('query', this.#rotated(q, dim));
    const keys = tap('key', this.#rotated(k, dim));
    const held = tap('value', v);
    return queries.map((row, t) => {
      const out = new Float64Array(heads * dim);
      for (let h = 0; h < heads; h++) {
        const kv = Math.floor(h / (heads / kvHeads)) * dim;
        const scores = Array.from({ length: t + 1 }, (_, j) => {
          let dot = 0;
          for (let i = 0; i < dim; i++)
            dot += (row[h * dim + i] as number) * (keys[j]?.[kv + i] as number);
          return dot / Math.sqrt(dim);
        });
        const most = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - most));
        const total = weights.reduce((a, b) => a + b, 0);
        for (const [j, weight] of weights.entries()) {
          for (let i = 0; i < dim; i++) {
            const at = h * dim + i;
            out[at] = (out[at] as number) + (weight / total) * (held[j]?.[kv + i] as number);
          }
        }
      }
      return out;
    });
  }

  /** Rotary positions: coordinates i and i + dim / 2 turn together. */
  #rotated(x: Matrix, dim: number): Matrix {
    const theta = this.config.rope_theta;
    if (theta === undefined) return x;
    return x.map((row, position) =>
      row.map((value, at) => {
        const i = at % dim;
        const half = dim / 2;
        const angle = position * theta ** (-(2 * (i % half)) / dim);
        const other = row[at + (i < half ? half : -half)] as number;
        return value * Math.cos(angle) + (i < half ? -other : other) * Math.sin(angle);
      }),
    );
  }

  #norm(name: string, x: Matrix): Matrix {
    const gain = this.#get(`${name}.weight`);
    const bias = this.weights.get(`${name}.bias`);
    return x.map((row) => {
      const mean = bias ? row.reduce((a, b) => a + b, 0) / row.length : 0;
      const power = row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length;
      const deviation = Math.sqrt(power + (bias ? 1e-5 : 1e-6));
      return row.map(
        (value, k) => ((value - mean) / deviation) * (gain[k] as number) + (bias?.[k] ?? 0),
      );
    });
  }

  #linear(name: string, x: Matrix): Matrix {
    const bias = this.weights.get(`${name}.bias`);
    const y = product(x, this.#get(`${name}.weight`));
    return bias ? y.map((row) => row.map((value, n) => value + (bias[n] as number))) : y;
  }

  #get(name: string): Float64Array {
    const found = this.weights.get(name);
    if (!found) throw new Error(`no tensor ${name}`);
    return found;
  }
}

export function values({ dtype, bytes }: RawTensor): Float64Array {
  const { buffer } = bytes;
  switch (dtype) {
    case 'F32':
      return Float64Array.from(new Float32Array(buffer));
    case 'I32':
      return Float64Array.from(new Int32Array(buffer));
    default:
      return decode(new Uint16Array(buffer), 'f16');
  }
}

/** x times the transpose of a weight [N, K]. */
function product(x: Matrix, weight: Float64Array): Matrix {
  return x.map((row) => {
    const k = row.length;
    const out = new Float64Array(weight.length / k);
    for (let n = 0; n < out.length; n++) {
      let total = 0;
      for (let i = 0; i < k; i++) total += (row[i] as number) * (weight[n * k + i] as number);
      out[n] = total;
    }
    return out;
  });
}

function sum(a: Matrix, b: Matrix): Matrix {
  return a.map((row, t) => row.map((value, k) => value + (b[t]?.[k] as number)));
}
