import * as ops from '../ops';
import type { Tensor } from '../tensor';
import type { Module, ModuleContext, StoredTensor } from './module';
import { Parameter } from './parameter';

/** A table of vectors, one per token or position. */
export class Embedding implements Module {
  readonly method = 'none';
  readonly name: string;
  readonly table: Parameter;
  readonly #context: ModuleContext;

  constructor(context: ModuleContext, name: string, rows: number, width: number) {
    this.#context = context;
    this.name = name;
    this.table = new Parameter(context, `${name}.weight`, [rows, width]);
  }

  get parameters(): number {
    return this.table.parameters;
  }

  get bytes(): number {
    return this.table.bytes;
  }

  /** ids i32[T] to float[T, width]; with `into`, adds to that instead. */
  forward(ids: Tensor, options: { offset?: number; into?: Tensor } = {}): Tensor {
    const dtype = this.#context.activations;
    return ops.embedding(ids, this.table.tensor, { ...options, dtype });
  }

  load(): Promise<void> {
    return this.table.load();
  }

  dispose(): void {
    this.table.dispose();
  }

  stored(): StoredTensor[] {
    return [this.table.stored()];
  }
}
