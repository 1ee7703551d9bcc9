import type { Device } from '../device';
import { cacheAppend, gptqHessian } from '../ops';
import type { Tensor } from '../tensor';

/** The sum of q q^T over the queries of a layer, by the head of keys that they read. */
export class QueryMoments {
  readonly #headDim: number;
  readonly #sums: readonly Tensor[];

  constructor(device: Device, { kvHeads, headDim }: { kvHeads: number; headDim: number }) {
    this.#headDim = headDim;
    const zeros = new Float32Array(headDim * headDim);
    this.#sums = Array.from({ length: kvHeads }, () =>
      device.from('f32', [headDim, headDim], zeros),
    );
  }

  /** @param q float[T, heads * headDim], rotated; rows may be spaced apart */
  add(q: Tensor): void {
    const { device, dtype } = q;
    device.scope(() => {
      const [tokens, width] = q.shape as [number, number];
      const heads = width / this.#headDim;
      const order = Int32Array.from({ length: tokens }, (_, i) => i);
      const places = device.empty('i32', [tokens]).write(order);
      // A cache of one page holds the rows of each head together.
      const page = (): Tensor => device.empty(dtype, [1, heads, tokens, this.#headDim]);
      const cache = { key: page(), value: page() };
      cacheAppend(q, q, q, { positions: places, slots: places, cache });
      const rows = cache.key.reshape([heads * tokens, this.#headDim]);
      for (let head = 0; head < heads; head++) {
        const sum = this.#sums[Math.floor((head * this.#sums.length) / heads)] as Tensor;
        const own = rows.rows(head * tokens, (head + 1) * tokens);
        gptqHessian(sum, own, { keep: 1, scale: 1 });
      }
      return undefined;
    });
  }

  /** f32[headDim, headDim] for each head of keys. */
  values(): Float32Array[] {
    return this.#sums.map((sum) => sum.readFloats());
  }

  [Symbol.dispose](): void {
    for (const sum of this.#sums) sum.dispose();
  }
}
