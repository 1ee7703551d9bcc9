import { BlockManager } from '../../lib/engine/block-manager';

describe('BlockManager', () => {
  test('covers tokens with whole pages, in order', () => {
    const blocks = new BlockManager(4, 8);
    const pages: number[] = [];
    expect(blocks.extend(pages, 1)).toBe(true);
    expect(pages).toEqual([0]);
    expect(blocks.extend(pages, 8)).toBe(true);
    expect(pages).toEqual([0]);
    expect(blocks.extend(pages, 17)).toBe(true);
    expect(pages).toEqual([0, 1, 2]);
    expect(blocks.free).toBe(1);
  });

  test('changes nothing when too few pages are free', () => {
    const blocks = new BlockManager(2, 8);
    const pages: number[] = [];
    expect(blocks.extend(pages, 17)).toBe(false);
    expect(pages).toEqual([]);
    expect(blocks.free).toBe(2);
  });

  test('takes pages back and deals them out again', () => {
    const blocks = new BlockManager(3, 8);
    const [a, b]: number[][] = [[], []];
    blocks.extend(a as number[], 16);
    blocks.extend(b as number[], 8);
    blocks.release(a as number[]);
    expect(a).toEqual([]);
    expect(blocks.free).toBe(2);
    expect(blocks.extend(b as number[], 24)).toBe(true);
    expect(new Set(b).size).toBe(3);
  });

  test('refuses to free a page twice', () => {
    const blocks = new BlockManager(2, 8);
    const pages: number[] = [];
    blocks.extend(pages, 8);
    const copy = [...pages];
    blocks.release(pages);
    expect(() => blocks.release(copy)).toThrow('freed twice');
    expect(blocks.free).toBe(2);
  });

  test('never deals a page to two owners, whatever the order', () => {
    const blocks = new BlockManager(16, 4);
    const owners: number[][] = Array.from({ length: 6 }, () => []);
    let state = 1;
    for (let round = 0; round < 300; round++) {
      state = (state * 1103515245 + 12345) % 2 ** 31;
      const owner = owners[(state >> 8) % owners.length] as number[];
      if ((state >> 16) % 3 === 0) blocks.release(owner);
      else blocks.extend(owner, ((state >> 18) % 24) + 1);
      const held = owners.flat();
      expect(new Set(held).size).toBe(held.length);
      expect(held.length + blocks.free).toBe(16);
    }
  });
});
