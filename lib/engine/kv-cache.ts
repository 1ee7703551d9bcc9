import type { Device } from '../device';
import type { DType } from '../native';
import type { CacheShape } from '../nn/causal-lm';
import { type CodedLayerCache, cast, kvRowBytes, type LayerCache } from '../ops';
import { sizeOf, type Tensor } from '../tensor';

/** Bytes of one page: keys and values of `pageSize` tokens in all layers. */
export function pageBytes(shape: CacheShape, pageSize: number): number {
  return 2 * shape.layers * shape.kvHeads * pageSize * headBytes(shape);
}

/** Bytes of what a fixed cache has besides codes: grids by channel, and the feedback of keys. */
export function gridBytes(
  { layers, kvHeads, headDim, bits, queryBits }: Omit<CacheShape, 'grids'>,
  heads: number,
): number {
  const channels = (2 * kvHeads + (queryBits ? heads : 0)) * headDim;
  const feedback = bits !== undefined && bits < 8 ? kvHeads * headDim ** 2 * sizeOf('f16') : 0;
  return layers * (2 * channels * sizeOf('f32') + feedback);
}

/** Bytes of the key or the value of one head of one token. */
function headBytes({ headDim, dtype, bits, grids }: CacheShape): number {
  if (bits === undefined) return headDim * sizeOf(dtype);
  return kvRowBytes(headDim, bits) + (grids ? 0 : 2 * sizeOf('f16'));
}

/** The key and value memory of all layers, in pages; see `LayerCache` for what is in a page. */
export class KvCache {
  readonly layers: LayerCache[] = [];
  readonly pages: number;
  readonly pageSize: number;
  readonly #device: Device;
  readonly #owned: Tensor[] = [];

  /** @throws FewbitError of the device when the memory is not there; nothing stays allocated. */
  constructor(device: Device, shape: CacheShape, pages: number, pageSize: number) {
    this.#device = device;
    this.pages = pages;
    this.pageSize = pageSize;
    try {
      for (let layer = 0; layer < shape.layers; layer++) this.layers.push(this.layer(shape, layer));
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** Of all pages, and of what fixes the codes. */
  get bytes(): number {
    return this.#owned.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  dispose(): void {
    for (const tensor of this.#owned.splice(0)) tensor.dispose();
    this.layers.length = 0;
  }

  private layer(shape: CacheShape, index: number): LayerCache {
    const { dtype, kvHeads, headDim, bits, grids, queryBits } = shape;
    const pair = (of: DType, width: number): { key: Tensor; value: Tensor } => {
      const extents = [this.pages, kvHeads, this.pageSize, width];
      return { key: this.allocate(of, extents), value: this.allocate(of, extents) };
    };
    if (bits === undefined) return pair(dtype, headDim);
    const codes = { ...pair('u8', kvRowBytes(headDim, bits)), bits, headDim };
    const grid = grids?.[index];
    if (!grid) return { ...codes, scales: pair('f16', 2) };
    const upload = (values: Float32Array): Tensor =>
      this.allocate('f32', [2, values.length / 2]).write(values);
    const coded: CodedLayerCache = {
      ...codes,
      grids: { key: upload(grid.key), value: upload(grid.value) },
    };
    if (grid.keyFeedback) {
      coded.keyFeedback = this.uploadHalf(grid.keyFeedback, [kvHeads, headDim, headDim]);
    }
    if (grid.query && queryBits !== undefined) {
      coded.query = { grid: upload(grid.query), bits: queryBits };
    }
    return coded;
  }

  private uploadHalf(values: Float32Array, shape: number[]): Tensor {
    const halves = this.#device.scope(() =>
      cast(this.#device.empty('f32', shape).write(values), 'f16').read(),
    );
    return this.allocate('f16', shape).write(halves);
  }

  private allocate(dtype: DType, shape: number[]): Tensor {
    const tensor = this.#device.allocate(dtype, shape);
    this.#owned.push(tensor);
    return tensor;
  }
}
