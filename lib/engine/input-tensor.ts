import type { Device } from '../device';
import type { Command, DType } from '../native';
import type { HostArray, Tensor } from '../tensor';

/**
 * A tensor that programs read their inputs from (or leave results in). Programs of different row
 * counts use views of its first rows, so its address never changes.
 */
export class InputTensor {
  readonly #tensor: Tensor;
  readonly #views = new Map<number, Tensor>();

  /** @param shape the most rows, then the other extents */
  constructor(device: Device, dtype: DType, shape: number[]) {
    this.#tensor = device.allocate(dtype, shape);
  }

  /** The first `rows` rows. Made outside of recordings and scopes, which would dispose it. */
  first(rows: number): Tensor {
    let view = this.#views.get(rows);
    if (!view) {
      view = this.#tensor.rows(0, rows);
      this.#views.set(rows, view);
    }
    return view;
  }

  /** The command that writes the first `rows` rows. `data` must stay as it is until it ran. */
  write(rows: number, data: HostArray): Command {
    const tensor = this.first(rows);
    tensor.checkHost(data);
    return { kind: 'write', tensor: tensor.handle, data };
  }

  read(rows: number, into: HostArray): Command {
    const tensor = this.first(rows);
    tensor.checkHost(into);
    return { kind: 'read', tensor: tensor.handle, into };
  }

  dispose(): void {
    for (const view of this.#views.values()) view.dispose();
    this.#views.clear();
    this.#tensor.dispose();
  }
}
