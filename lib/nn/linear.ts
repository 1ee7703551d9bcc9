import type { DType } from '../native';
import * as ops from '../ops';
import { sizeOf, type Tensor } from '../tensor';
import {
  diskName,
  type LinearModule,
  type LinearOptions,
  type LinearSpec,
  linearName,
  linearParameters,
  outFeatures,
  partRows,
  whenLoaded,
} from './linear-module';
import type { ModuleContext, StoredTensor } from './module';
import { expectShape, loadRows, residentDtype, storedTensor } from './parameter';

/** A linear layer with 16- or 32-bit weights. */
export class Linear implements LinearModule {
  readonly method: string;
  readonly spec: LinearSpec;
  readonly dtype: DType;
  readonly #context: ModuleContext;
  #weight: Tensor | undefined;
  #bias: Tensor | undefined;

  constructor(context: ModuleContext, spec: LinearSpec) {
    this.#context = context;
    this.spec = spec;
    const stored = spec.parts.map((part) =>
      expectShape(context, `${diskName(spec, part)}.weight`, [part.outFeatures, spec.inFeatures]),
    );
    this.dtype = residentDtype(context, stored[0] as DType);
    this.method = this.dtype;
  }

  get name(): string {
    return linearName(this.spec);
  }

  get parameters(): number {
    return linearParameters(this.spec);
  }

  get bytes(): number {
    return this.parameters * sizeOf(this.dtype);
  }

  async load(): Promise<void> {
    const { device } = this.#context;
    const rows = outFeatures(this.spec);
    this.#weight = device.allocate(this.dtype, [rows, this.spec.inFeatures]);
    this.#bias = this.spec.bias ? device.allocate(this.dtype, [rows]) : undefined;
    for (const { part, begin, end } of partRows(this.spec)) {
      const name = diskName(this.spec, part);
      await loadRows(this.#context, `${name}.weight`, this.#weight, { begin, end });
      if (this.#bias) await loadRows(this.#context, `${name}.bias`, this.#bias, { begin, end });
    }
  }

  /** float[N, K], once loaded. */
  get weight(): Tensor {
    return whenLoaded(this.spec, this.#weight);
  }

  /** float[N], where the layers have one. */
  get bias(): Tensor | undefined {
    return this.#bias;
  }

  forward(x: Tensor, options: LinearOptions = {}): Tensor {
    return ops.linear(x, this.weight, this.#bias, options);
  }

  dispose(): void {
    this.#weight?.dispose();
    this.#bias?.dispose();
    this.#weight = undefined;
    this.#bias = undefined;
  }

  stored(): StoredTensor[] {
    return partRows(this.spec).flatMap(({ part, begin, end }) =>
      [
        this.#weight && storedTensor(`${part.name}.weight`, this.#weight, { begin, end }),
        this.#bias && storedTensor(`${part.name}.bias`, this.#bias, { begin, end }),
      ].filter((tensor) => tensor !== undefined),
    );
  }
}

/** A head whose weight is the token embedding's (`tie_word_embeddings`). */
export class TiedLinear implements LinearModule {
  readonly method = 'tied';
  readonly parameters = 0;
  readonly bytes = 0;
  readonly spec: LinearSpec;
  readonly #table: { readonly tensor: Tensor; readonly shape: number[] };

  constructor(name: string, table: { readonly tensor: Tensor; readonly shape: number[] }) {
    const [outFeatures, inFeatures] = table.shape as [number, number];
    this.spec = { parts: [{ name, outFeatures }], inFeatures, bias: false };
    this.#table = table;
  }

  get name(): string {
    return (this.spec.parts[0] as { name: string }).name;
  }

  forward(x: Tensor, options: LinearOptions = {}): Tensor {
    return ops.linear(x, this.#table.tensor, undefined, options);
  }

  async load(): Promise<void> {}

  dispose(): void {}

  stored(): StoredTensor[] {
    return [];
  }
}
