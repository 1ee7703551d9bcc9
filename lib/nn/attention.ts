import { CheckpointError } from '../errors';
import { type AttentionInputs, attend, type KvBits, type LayerCache, type QueryBits } from '../ops';
import type { Tensor } from '../tensor';
import type { CacheGrids } from './causal-lm';
import type { Module, ModuleContext, StoredTensor } from './module';

/** Widths of a cache whose grids come with the checkpoint. */
export interface CacheWidths {
  readonly bits: KvBits;
  readonly queryBits?: QueryBits;
}

export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/**
 * The attention of a layer, which has no weights, with the grids of its cache where the checkpoint
 * fixes them (`<name>.key_grid`, `value_grid` and `query_grid`, as `CacheGrids` has them).
 */
export class Attention implements Module {
  readonly name: string;
  readonly parameters = 0;
  /** The cache holds the grids on the device. */
  readonly bytes = 0;
  readonly widths: CacheWidths | undefined;
  /** Zeros until they are loaded. */
  readonly grids: CacheGrids | undefined;
  readonly #context: ModuleContext;
  readonly #scale: number;

  constructor(
    context: ModuleContext,
    name: string,
    { heads, kvHeads, headDim }: AttentionShape,
    widths?: CacheWidths,
  ) {
    this.#context = context;
    this.name = name;
    this.widths = widths;
    this.#scale = headDim ** -0.5;
    if (!widths) return;
    const grid = (of: number): Float32Array => new Float32Array(2 * of * headDim);
    const pair = { key: grid(kvHeads), value: grid(kvHeads) };
    this.grids = widths.queryBits ? { ...pair, query: grid(heads) } : pair;
  }

  get method(): string {
    return this.grids ? 'rptq' : 'none';
  }

  /** Appends k and v to the cache and lets q attend to it. May overwrite q. */
  forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Omit<AttentionInputs, 'cache' | 'scale'> & { cache: LayerCache; decode: boolean },
  ): Tensor {
    const out = attend(q, k, v, { ...inputs, scale: this.#scale });
    this.#context.onAttention?.(this.name, q, inputs.cache);
    return out;
  }

  /** @throws CheckpointError for grids that are missing, of another shape, or not positive */
  async load(): Promise<void> {
    const { device, source } = this.#context;
    for (const [kind, values] of this.#named) {
      this.#check(kind, values);
      using held = device.allocate('f32', [2, values.length / 2]);
      await device.submit([
        source.load(`${this.name}.${kind}_grid`, held),
        { kind: 'read', tensor: held.handle, into: values },
      ]);
      const scales = values.subarray(0, values.length / 2);
      if (scales.every((scale) => scale > 0 && Number.isFinite(scale))) continue;
      throw new CheckpointError(
        `${this.name}.${kind}_grid holds a scale that is not positive: the file is damaged, fetch it ` +
          'again',
      );
    }
  }

  dispose(): void {}

  stored(): StoredTensor[] {
    return gridTensors(this.name, this.grids);
  }

  get #named(): [string, Float32Array][] {
    return Object.entries(this.grids ?? {});
  }

  #check(kind: string, values: Float32Array): void {
    const tensor = `${this.name}.${kind}_grid`;
    const wanted = [2, values.length / 2];
    const { dtype, shape = wanted } = this.#context.source.describe(tensor);
    if (dtype === 'f32' && `${shape}` === `${wanted}`) return;
    throw new CheckpointError(
      `${tensor} is ${dtype}[${shape.join(', ')}], but must be f32[${wanted.join(', ')}]: the tensors ` +
        'and the configuration do not belong together',
    );
  }
}

/** How grids are saved. */
export function gridTensors(name: string, grids: CacheGrids | undefined): StoredTensor[] {
  return Object.entries(grids ?? {}).map(([kind, values]: [string, Float32Array]) => ({
    name: `${name}.${kind}_grid`,
    dtype: 'f32',
    shape: [2, values.length / 2],
    read: async () => values,
  }));
}
