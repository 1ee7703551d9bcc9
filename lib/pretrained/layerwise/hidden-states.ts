import type { Device } from '../../device';
import type { DType } from '../../native';
import { type HostArray, sizeOf, type Tensor } from '../../tensor';

/** Share of a GPU's free memory that hidden states may take; the rest is for the layer at work. */
const DEVICE_SHARE = 0.5;

/**
 * Hidden states of every calibration window between two layers: on the device, or in the host's
 * memory where they would take too much of a GPU's.
 */
export class HiddenStates {
  readonly #device: Device;
  readonly #held: (Tensor | HostArray | undefined)[];
  readonly #shapes: readonly [number, number][];
  readonly #dtype: DType;
  readonly #onDevice: boolean;

  /**
   * @param rows ids of each window
   * @param width of a hidden state
   * @param most bytes that may stay on the device
   */
  constructor(
    device: Device,
    dtype: DType,
    rows: readonly number[],
    width: number,
    most = roomOn(device),
  ) {
    this.#device = device;
    this.#dtype = dtype;
    this.#shapes = rows.map((count) => [count, width]);
    this.#held = rows.map(() => undefined);
    this.#onDevice = HiddenStates.bytes(dtype, rows, width) <= most;
  }

  /** Bytes of all of them. */
  static bytes(dtype: DType, rows: readonly number[], width: number): number {
    return rows.reduce((sum, count) => sum + count, 0) * width * sizeOf(dtype);
  }

  /** A copy of a window's states that may be changed. It belongs to the device's scope. */
  copy(window: number): Tensor {
    const copy = this.#device.empty(this.#dtype, [...(this.#shapes[window] as [number, number])]);
    const held = this.#held[window] as Tensor | HostArray;
    if ('device' in held) this.#device.run('cast', [held, copy]);
    else copy.write(held);
    return copy;
  }

  /** Keeps a copy of a window's states. */
  set(window: number, states: Tensor): void {
    if (!this.#onDevice) {
      this.#held[window] = states.read();
      return;
    }
    const shape = [...(this.#shapes[window] as [number, number])];
    const held =
      (this.#held[window] as Tensor | undefined) ?? this.#device.allocate(this.#dtype, shape);
    this.#held[window] = held;
    this.#device.run('cast', [states, held]);
  }

  [Symbol.dispose](): void {
    for (const held of this.#held) if (held && 'device' in held) held.dispose();
    this.#held.fill(undefined);
  }
}

/** A CPU device's memory is the host's: moving states there would gain nothing. */
function roomOn(device: Device): number {
  return device.type === 'cpu' ? Number.POSITIVE_INFINITY : DEVICE_SHARE * device.memory().free;
}
