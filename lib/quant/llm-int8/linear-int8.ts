import {
  diskName,
  type LinearModule,
  type LinearOptions,
  type LinearPart,
  type LinearSpec,
  linearName,
  linearParameters,
  partRows,
  whenLoaded,
} from '../../nn/linear-module';
import type { ModuleContext, StoredTensor } from '../../nn/module';
import { expectShape, storedTensor } from '../../nn/parameter';
import { type Int8Weight, int8Quantize, linearInt8 } from '../../ops';
import { elementsOf, sizeOf, type Tensor } from '../../tensor';
import type { LlmInt8Config } from './config';
import { int8Bytes, loadStored, quantize, readCodes } from './int8-weight';
import { KEPT_COLUMNS_SUFFIX, KEPT_WEIGHT_SUFFIX } from './kept-columns';

/**
 * The linear layer of LLM.int8(): int8 weights with a scale per output, activations quantized per
 * row at run time, and the input columns with a value of at least `threshold` multiplied in 16 bits.
 */
export class LinearInt8 implements LinearModule {
  readonly method = 'llm.int8';
  readonly spec: LinearSpec;
  readonly config: LlmInt8Config;
  readonly #context: ModuleContext;
  readonly #stored: boolean;
  #weight: Int8Weight | undefined;

  constructor(context: ModuleContext, spec: LinearSpec, config: LlmInt8Config) {
    this.#context = context;
    this.spec = spec;
    this.config = config;
    this.#stored = context.source.has(`${diskName(spec, spec.parts[0] as LinearPart)}.SCB`);
    for (const part of spec.parts) {
      const shape = [part.outFeatures, spec.inFeatures];
      expectShape(context, `${diskName(spec, part)}.weight`, shape);
    }
  }

  get name(): string {
    return linearName(this.spec);
  }

  get parameters(): number {
    return linearParameters(this.spec);
  }

  get bytes(): number {
    const { kept, keptSlots } = this.#weight ?? {};
    return int8Bytes(this.#context, this.spec) + tensorBytes(kept) + tensorBytes(keptSlots);
  }

  /** Input columns whose weights are also held in 16 bits. */
  get keptColumns(): number {
    return this.#weight?.kept?.shape[0] ?? 0;
  }

  async load(): Promise<void> {
    const read = this.#stored ? loadStored : quantize;
    this.#weight = await read(this.#context, this.spec, this.config);
  }

  forward(x: Tensor, options: LinearOptions = {}): Tensor {
    const { threshold, mode } = this.config;
    const stats = this.#context.int8Stats;
    const input = int8Quantize(x, { threshold, mode, stats });
    return linearInt8(input, this.weight, { ...options, mode });
  }

  dispose(): void {
    for (const tensor of Object.values(this.#weight ?? {})) tensor?.dispose();
    this.#weight = undefined;
  }

  stored(): StoredTensor[] {
    const { weight } = this;
    const { inFeatures } = this.spec;
    return partRows(this.spec).flatMap(({ part, begin, end }): StoredTensor[] => [
      {
        name: `${part.name}.weight`,
        dtype: 'i8',
        shape: [end - begin, inFeatures],
        read: () => readCodes(weight.codes, { begin, end }, inFeatures),
      },
      storedTensor(`${part.name}.SCB`, weight.scales, { begin, end }),
      {
        name: `${part.name}.weight_format`,
        dtype: 'u8',
        shape: [],
        read: async () => new Uint8Array([0]),
      },
      ...(weight.bias ? [storedTensor(`${part.name}.bias`, weight.bias, { begin, end })] : []),
    ]);
  }

  /** The kept columns, for a file beside the checkpoint: transformers does not know them. */
  storedColumns(): StoredTensor[] {
    const { kept, keptSlots } = this.weight;
    if (!kept || !keptSlots) return [];
    const slots = keptSlots.read() as Int32Array;
    const columns = Int32Array.from([...slots.keys()].filter((k) => (slots[k] as number) >= 0));
    const total = kept.shape[1] as number;
    return partRows(this.spec).flatMap(({ part, begin, end }): StoredTensor[] => [
      {
        name: `${part.name}.${KEPT_COLUMNS_SUFFIX}`,
        dtype: 'i32',
        shape: [columns.length],
        read: async () => columns,
      },
      {
        name: `${part.name}.${KEPT_WEIGHT_SUFFIX}`,
        dtype: kept.dtype,
        shape: [columns.length, end - begin],
        read: async () => columnsOf(kept.read(), total, begin, end),
      },
    ]);
  }

  protected get weight(): Int8Weight {
    return whenLoaded(this.spec, this.#weight);
  }
}

function tensorBytes(tensor: Tensor | undefined): number {
  return tensor ? elementsOf(tensor.shape) * sizeOf(tensor.dtype) : 0;
}

/** Columns begin .. end of a row-major host matrix with rows of `width`. */
function columnsOf(
  values: ReturnType<Tensor['read']>,
  width: number,
  begin: number,
  end: number,
): ArrayBufferView {
  const rows = values.length / width;
  const out = values.slice(0, rows * (end - begin));
  for (let row = 0; row < rows; row++) {
    const piece = values.subarray(row * width + begin, row * width + end);
    // Both are of the same class; TypeScript cannot see that through the union.
    (out as Float32Array).set(piece as Float32Array, row * (end - begin));
  }
  return out;
}
