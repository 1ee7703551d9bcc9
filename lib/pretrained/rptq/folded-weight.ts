import { gatherColumns, scaleColumns } from '../../ops';
import { invertOrder } from '../../quant/rptq/clusters';
import { channelGrid, type InputDesign } from '../../quant/rptq/input-design';
import { rotateBlocks } from '../../quant/rptq/rotation';
import type { Tensor } from '../../tensor';

/**
 * Weights and Hessians as they are for an input in RPTQ's order, with the scales of its channels, or what
 * they are divided by, taken into the weight. What is made belongs to the device's scope.
 */
export class InputFold {
  readonly #order: Int32Array;
  /** f32[K] by place; undefined for an input in 16 bits that is as it was. */
  readonly #scales: Float32Array | undefined;
  readonly #rotation: number | undefined;

  constructor(input: InputDesign) {
    this.#order = input.order;
    this.#rotation = input.rotation;
    this.#scales = input.grids
      ? channelGrid(input).subarray(0, input.order.length)
      : input.divisors;
  }

  /** w f32[N, K] with column j = scale[j] * column order[j] of w, or of w rotated. */
  fold(w: Tensor): Tensor {
    return this.#scaled(columnsInOrder(this.#rotated(w), this.#order), (scale) => scale);
  }

  /** The reverse. */
  unfold(w: Tensor): Tensor {
    const scaled = this.#scaled(w, (scale) => 1 / scale);
    return this.#rotated(columnsInOrder(scaled, invertOrder(this.#order)));
  }

  /** The Hessian f32[K, K] of inputs x[order] / scale, or of rotated ones. */
  hessian(h: Tensor): Tensor {
    const order = intTensor(h, this.#order);
    const own = this.#rotation ? this.#rotated(transposed(this.#rotated(h))) : h;
    const rows = this.#scaled(
      gatherColumns(gatherColumns(own, order), order),
      (scale) => 1 / scale,
    );
    return this.#scaled(transposed(rows), (scale) => 1 / scale);
  }

  /** Rows in blocks times Hadamard's matrix, which is symmetric and its own inverse. */
  #rotated(x: Tensor): Tensor {
    if (!this.#rotation) return x;
    const values = rotateBlocks(x.readFloats(), this.#rotation);
    return x.device.empty('f32', [...x.shape]).write(values);
  }

  #scaled(x: Tensor, factor: (scale: number) => number): Tensor {
    if (!this.#scales) return x;
    const factors = this.#scales.map(factor);
    return scaleColumns(x, x.device.empty('f32', [factors.length]).write(factors));
  }
}

function columnsInOrder(x: Tensor, order: Int32Array): Tensor {
  return transposed(gatherColumns(x, intTensor(x, order)));
}

function transposed(x: Tensor): Tensor {
  const [, columns] = x.shape as readonly [number, number];
  return gatherColumns(
    x,
    intTensor(
      x,
      Int32Array.from({ length: columns }, (_, i) => i),
    ),
  );
}

function intTensor({ device }: Tensor, values: Int32Array): Tensor {
  return device.empty('i32', [values.length]).write(values);
}
