import type { Device } from '../device';
import type { Command } from '../native';
import type { ForwardBatch } from '../nn/causal-lm';
import { ForwardInputs } from './forward-inputs';

/** Tokens `begin .. end` of some sequence, and its cache pages. */
export interface ChunkSpan {
  tokens: ArrayLike<number>;
  pages: readonly number[];
  begin: number;
  end: number;
}

/** The rows of a forward pass over pieces of several sequences, one after the other. */
export class ChunkInputs {
  readonly #inputs: ForwardInputs;
  readonly #pageSize: number;
  readonly #tableWidth: number;

  /** @param maxPages pages of the longest sequence */
  constructor(
    device: Device,
    limits: { rows: number; sequences: number; pageSize: number; maxPages: number },
  ) {
    this.#pageSize = limits.pageSize;
    this.#tableWidth = limits.maxPages;
    this.#inputs = new ForwardInputs(device, limits);
  }

  /** The tensors that a program over `rows` rows of up to `sequences` sequences uses. */
  bind(rows: number, sequences: number): Omit<ForwardBatch, 'cache'> {
    return { ...this.#inputs.bind(rows, sequences), decode: false };
  }

  /** Writes the spans in order and padding after them. */
  write(spans: readonly ChunkSpan[], rows: number, sequences: number): Command[] {
    const ids = new Int32Array(rows).fill(-1);
    const positions = new Int32Array(rows).fill(-1);
    const slots = new Int32Array(rows).fill(-1);
    const owners = new Int32Array(rows);
    let row = 0;
    spans.forEach(({ tokens, pages, begin, end }, owner) => {
      for (let position = begin; position < end; position++, row++) {
        ids[row] = tokens[position] as number;
        positions[row] = position;
        slots[row] = slotOf(pages, position, this.#pageSize);
        owners[row] = owner;
      }
    });
    return this.#inputs.write(rows, sequences, {
      ids,
      positions,
      slots,
      sequences: owners,
      blockTable: blockTable(spans, sequences, this.#tableWidth),
    });
  }

  dispose(): void {
    this.#inputs.dispose();
  }
}

/** Where the key and value of a token go: page * pageSize + offset. */
export function slotOf(pages: readonly number[], position: number, pageSize: number): number {
  const page = pages[Math.floor(position / pageSize)];
  return page === undefined ? -1 : page * pageSize + (position % pageSize);
}

/** i32[rows, width]: the pages of each owner in order, then -1. */
export function blockTable(
  owners: readonly { pages: readonly number[] }[],
  rows: number,
  width: number,
): Int32Array {
  const table = new Int32Array(rows * width).fill(-1);
  owners.forEach(({ pages }, row) => {
    table.set(pages, row * width);
  });
  return table;
}
