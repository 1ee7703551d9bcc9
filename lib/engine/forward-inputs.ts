import type { Device } from '../device';
import type { Command } from '../native';
import type { ForwardBatch } from '../nn/causal-lm';
import { InputTensor } from './input-tensor';

/** The tensors that tell a forward pass which tokens it has, of which sequences, and where they go. */
export class ForwardInputs {
  readonly ids: InputTensor;
  readonly positions: InputTensor;
  readonly slots: InputTensor;
  readonly sequences: InputTensor;
  readonly blockTable: InputTensor;

  /** For up to so many rows and sequences, of up to maxPages pages each. */
  constructor(device: Device, limits: { rows: number; sequences: number; maxPages: number }) {
    const { rows, sequences, maxPages } = limits;
    this.ids = new InputTensor(device, 'i32', [rows]);
    this.positions = new InputTensor(device, 'i32', [rows]);
    this.slots = new InputTensor(device, 'i32', [rows]);
    this.sequences = new InputTensor(device, 'i32', [rows]);
    this.blockTable = new InputTensor(device, 'i32', [sequences, maxPages]);
  }

  /** What a program over `rows` rows of up to `sequences` sequences uses. */
  bind(rows: number, sequences: number): Omit<ForwardBatch, 'cache' | 'decode'> {
    return {
      ids: this.ids.first(rows),
      positions: this.positions.first(rows),
      slots: this.slots.first(rows),
      sequences: this.sequences.first(rows),
      blockTable: this.blockTable.first(sequences),
    };
  }

  /** Entries of `rows` rows each, and a block table of `sequences` rows. */
  write(
    rows: number,
    sequences: number,
    values: Record<'ids' | 'positions' | 'slots' | 'sequences' | 'blockTable', Int32Array>,
  ): Command[] {
    return [
      this.ids.write(rows, values.ids),
      this.positions.write(rows, values.positions),
      this.slots.write(rows, values.slots),
      this.sequences.write(rows, values.sequences),
      this.blockTable.write(sequences, values.blockTable),
    ];
  }

  dispose(): void {
    const { ids, positions, slots, sequences, blockTable } = this;
    for (const tensor of [ids, positions, slots, sequences, blockTable]) tensor.dispose();
  }
}
