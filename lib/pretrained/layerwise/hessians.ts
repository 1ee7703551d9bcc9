import type { Device } from '../../device';
import { type GptqFactor, gptqFactor, gptqHessian } from '../../ops';
import type { GptqConfig } from '../../quant/gptq/config';
import type { Tensor } from '../../tensor';

/** Hessians of the inputs of linear layers, by the names of the layers that share an input. */
export class HessianSet {
  readonly #device: Device;
  readonly #sums = new Map<string, { h: Tensor; rows: number }>();

  constructor(device: Device) {
    this.#device = device;
  }

  /** Adds the rows of an input float[T, K]. */
  add(names: readonly string[], x: Tensor): void {
    const [rows, k] = x.shape as unknown as [number, number];
    const key = names.join();
    const sum = this.#sums.get(key) ?? { h: this.#device.allocate('f32', [k, k]), rows: 0 };
    const total = sum.rows + rows;
    this.#sums.set(key, sum);
    gptqHessian(sum.h, x, { keep: sum.rows / total, scale: 2 / total });
    sum.rows = total;
  }

  /** f32[K, K]: 2 / rows times the sum over all rows of x^T x. */
  sum(names: readonly string[]): Tensor {
    return (this.#sums.get(names.join()) as { h: Tensor }).h;
  }

  /**
   * Factors for layers that share an input: one for all that have groups of the same size (-1: the
   * whole row). They belong to the device's scope.
   */
  factors(
    names: readonly string[],
    { ordering, damp }: Pick<GptqConfig, 'ordering' | 'damp'>,
  ): (groupSize: number) => GptqFactor {
    const h = this.sum(names);
    const bySize = new Map<number, GptqFactor>();
    return (wanted) => {
      const groupSize = wanted === -1 ? (h.shape[0] as number) : wanted;
      const factor = bySize.get(groupSize) ?? gptqFactor(h, { ordering, groupSize, damp });
      bySize.set(groupSize, factor);
      return factor;
    };
  }

  [Symbol.dispose](): void {
    for (const { h } of this.#sums.values()) h.dispose();
    this.#sums.clear();
  }
}
