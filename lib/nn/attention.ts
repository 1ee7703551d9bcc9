import { CheckpointError } from '../errors';
import { type AttentionInputs, attend, type KvBits, type LayerCache, type QueryBits } from '../ops';
import type { Tensor } from '../tensor';
import type { CacheGrids } from './causal-lm';
import type { Module, ModuleContext, StoredTensor } from './module';

/** Widths of a cache whose grids come with the checkpoint. */
export interface CacheWidths {
  readonly bits: KvBits;
  readonly queryBits?: QueryBits;
  /** Tokens of the longest window that the grids were calibrated with, where the checkpoint says it. */
  readonly calibratedLength?: number;
}

export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/**
 * The attention of a layer, which has no weights, with the grids of its cache where the checkpoint
 * fixes them (`<name>.key_grid`, `value_grid`, `query_grid` and `key_feedback`, as `CacheGrids` has
 * them).
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
  #headDim = 0;

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
    this.grids = {
      key: grid(kvHeads),
      value: grid(kvHeads),
      ...(widths.queryBits ? { query: grid(heads) } : {}),
      ...(context.source.has(`${name}.key_feedback`)
        ? { keyFeedback: new Float32Array(kvHeads * headDim ** 2) }
        : {}),
    };
    this.#headDim = headDim;
  }

  get method(): string {
    return this.grids ? 'rptq' : 'none';
  }

  /** Appends k and v to the cache and lets q attend to it. May overwrite q and k. */
  forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Omit<AttentionInputs, 'cache' | 'scale' | 'onAppended'> & {
      cache: LayerCache;
      decode: boolean;
    },
  ): Tensor {
    const hook = this.#context.onAttention;
    const onAppended = hook && ((rotated: Tensor) => hook(this.name, rotated, inputs.cache));
    return attend(q, k, v, { ...inputs, scale: this.#scale, onAppended });
  }

  /** @throws CheckpointError for grids that are missing, of another shape, or not positive */
  async load(): Promise<void> {
    if (!this.grids) return;
    for (const { name, shape, values, of } of namedValues(this.name, this.grids, this.#headDim)) {
      this.#check(name, shape);
      await this.#read(name, shape, values);
      const positive = of === 'grid' ? values.subarray(0, values.length / 2) : values;
      if (positive.every((value) => Number.isFinite(value) && (of !== 'grid' || value > 0)))
        continue;
      throw new CheckpointError(
        of === 'grid'
          ? `${name} holds a scale that is not positive: the file is damaged, fetch it again`
          : `${name} holds a value that is not finite: the file is damaged, fetch it again`,
      );
    }
  }

  async #read(name: string, shape: number[], into: Float32Array): Promise<void> {
    const { device, source } = this.#context;
    using held = device.allocate('f32', shape);
    await device.submit([source.load(name, held), { kind: 'read', tensor: held.handle, into }]);
  }

  dispose(): void {}

  stored(): StoredTensor[] {
    return gridTensors(this.name, this.grids, this.#headDim);
  }

  #check(tensor: string, wanted: readonly number[]): void {
    const { dtype, shape = wanted } = this.#context.source.describe(tensor);
    if (dtype === 'f32' && `${shape}` === `${wanted}`) return;
    throw new CheckpointError(
      `${tensor} is ${dtype}[${shape.join(', ')}], but must be f32[${wanted.join(', ')}]: the tensors ` +
        'and the configuration do not belong together',
    );
  }
}

/** How grids are saved. */
export function gridTensors(
  name: string,
  grids: CacheGrids | undefined,
  headDim: number,
): StoredTensor[] {
  return namedValues(name, grids ?? {}, headDim).map(({ values, ...tensor }) => ({
    name: tensor.name,
    dtype: 'f32',
    shape: tensor.shape,
    read: async () => values,
  }));
}

/** Values of a layer's cache with the names and shapes that they have in a file. */
function namedValues(
  prefix: string,
  { key, value, query, keyFeedback }: Partial<CacheGrids>,
  headDim: number,
): { name: string; shape: number[]; values: Float32Array; of: 'grid' | 'feedback' }[] {
  const grids = Object.entries({ key, value, query }).flatMap(([kind, values]) =>
    values
      ? [
          {
            name: `${prefix}.${kind}_grid`,
            shape: [2, values.length / 2],
            values,
            of: 'grid' as const,
          },
        ]
      : [],
  );
  if (!keyFeedback) return grids;
  const shape = [keyFeedback.length / headDim ** 2, headDim, headDim];
  return [
    ...grids,
    { name: `${prefix}.key_feedback`, shape, values: keyFeedback, of: 'feedback' as const },
  ];
}
