import * as ops from '../ops';
import { hostArray, type Tensor } from '../tensor';
import type { Module, ModuleContext, StoredTensor } from './module';
import { Parameter } from './parameter';

/** A module that holds a table as codes, for two to use. */
export interface SharedTable extends Pick<Module, 'load' | 'dispose'> {
  readonly table: ops.CodedTable;
}

/** A table of vectors, one per token or position. */
export class Embedding implements Module {
  readonly method = 'none';
  readonly name: string;
  readonly table: Parameter;
  readonly #context: ModuleContext;
  #shared: SharedTable | undefined;

  constructor(context: ModuleContext, name: string, rows: number, width: number) {
    this.#context = context;
    this.name = name;
    this.table = new Parameter(context, `${name}.weight`, [rows, width]);
  }

  /** From now on rows come from a table of codes that another module (the head) owns. */
  share(owner: SharedTable): void {
    this.#shared = owner;
  }

  get parameters(): number {
    return this.#shared ? 0 : this.table.parameters;
  }

  get bytes(): number {
    return this.#shared ? 0 : this.table.bytes;
  }

  /** ids i32[T] to float[T, width]; with `into`, adds to that instead. */
  forward(ids: Tensor, options: { offset?: number; into?: Tensor } = {}): Tensor {
    const dtype = this.#context.activations;
    if (!this.#shared) return ops.embedding(ids, this.table.tensor, { ...options, dtype });
    const rows = ops.embedding(ids, this.#shared.table, { ...options, dtype });
    // As they would be in a table of floats, so that one that is saved and read again is the same.
    return this.table.dtype === dtype ? rows : ops.cast(ops.cast(rows, this.table.dtype), dtype);
  }

  load(): Promise<void> {
    return (this.#shared ?? this.table).load();
  }

  dispose(): void {
    (this.#shared ?? this.table).dispose();
  }

  stored(): StoredTensor[] {
    if (!this.#shared) return [this.table.stored()];
    const { name, dtype, shape } = this.table;
    return [{ name, dtype, shape, read: async () => this.decoded() }];
  }

  /** The shared table as floats, on the host. */
  private decoded(): ArrayBufferView {
    const { device } = this.#context;
    const [rows, width] = this.table.shape as [number, number];
    const all = hostArray(this.table.dtype, rows * width);
    for (let begin = 0; begin < rows; begin += ROWS_AT_A_TIME) {
      const count = Math.min(ROWS_AT_A_TIME, rows - begin);
      device.scope(() => {
        const ids = device.from(
          'i32',
          [count],
          Int32Array.from({ length: count }, (_, i) => begin + i),
        );
        const piece = ops.cast(this.forward(ids), this.table.dtype).read();
        // Both are of the same class; TypeScript cannot see that through the union.
        (all as Float32Array).set(piece as Float32Array, begin * width);
      });
    }
    return all;
  }
}

const ROWS_AT_A_TIME = 4096;
