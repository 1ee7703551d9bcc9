import type { Device } from '../device';
import type { CacheShape } from '../nn/causal-lm';
import type { LayerCache } from '../ops';
import { sizeOf } from '../tensor';

/** Bytes of one page: keys and values of `pageSize` tokens in all layers. */
export function pageBytes(shape: CacheShape, pageSize: number): number {
  return 2 * shape.layers * shape.kvHeads * pageSize * shape.headDim * sizeOf(shape.dtype);
}

/** The key and value memory of all layers: [pages, kvHeads, pageSize, headDim] each. */
export class KvCache {
  readonly layers: LayerCache[] = [];
  readonly pages: number;
  readonly pageSize: number;
  readonly bytes: number;

  /** @throws FewbitError of the device when the memory is not there; nothing stays allocated. */
  constructor(device: Device, shape: CacheShape, pages: number, pageSize: number) {
    this.pages = pages;
    this.pageSize = pageSize;
    this.bytes = pages * pageBytes(shape, pageSize);
    const extents = [pages, shape.kvHeads, pageSize, shape.headDim];
    try {
      for (let layer = 0; layer < shape.layers; layer++) {
        const key = device.allocate(shape.dtype, extents);
        try {
          this.layers.push({ key, value: device.allocate(shape.dtype, extents) });
        } catch (error) {
          key.dispose();
          throw error;
        }
      }
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  dispose(): void {
    for (const { key, value } of this.layers) {
      key.dispose();
      value.dispose();
    }
    this.layers.length = 0;
  }
}
