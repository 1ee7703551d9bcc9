import { FewbitError } from '../errors';

/**
 * Deals out the pages of the cache. A sequence's pages are a plain array, in the order of its
 * tokens: page `i` holds tokens `i * pageSize .. (i + 1) * pageSize`.
 */
export class BlockManager {
  readonly total: number;
  readonly pageSize: number;
  #free: number[];
  #used: Uint8Array;

  constructor(total: number, pageSize: number) {
    this.total = total;
    this.pageSize = pageSize;
    // Taken from the end, so that a lone sequence gets pages 0, 1, 2, ...
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i);
    this.#used = new Uint8Array(total);
  }

  /** Pages that belong to nobody. */
  get free(): number {
    return this.#free.length;
  }

  /** Pages that hold this many tokens. */
  pagesFor(tokens: number): number {
    return Math.ceil(tokens / this.pageSize);
  }

  /** Adds pages until `pages` covers `tokens`. If too few are free, changes nothing: false. */
  extend(pages: number[], tokens: number): boolean {
    const missing = this.pagesFor(tokens) - pages.length;
    if (missing > this.#free.length) return false;
    for (let i = 0; i < missing; i++) {
      const page = this.#free.pop() as number;
      this.#used[page] = 1;
      pages.push(page);
    }
    return true;
  }

  /** Takes all pages back and empties the array. */
  release(pages: number[]): void {
    for (const page of pages) {
      if (this.#used[page] !== 1) {
        throw new FewbitError('ERR_FEWBIT_STATE', `cache page ${page} was freed twice`);
      }
      this.#used[page] = 0;
    }
    for (let i = pages.length - 1; i >= 0; i--) this.#free.push(pages[i] as number);
    pages.length = 0;
  }
}
