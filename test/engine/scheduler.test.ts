import { BlockManager } from '../../lib/engine/block-manager';
import { samplingParams } from '../../lib/engine/sampling-params';
import { type Plan, Scheduler } from '../../lib/engine/scheduler';
import { Sequence } from '../../lib/engine/sequence';

const limits = { maxBatch: 4, chunkRows: 16, chunkSequences: 3 };

function sequence(promptLength: number, maxNewTokens = 8): Sequence {
  const params = samplingParams({ maxNewTokens, seed: 0 }, { vocabSize: 10, eosTokenIds: [] });
  return new Sequence(new Array(promptLength).fill(1), params, 256);
}

/** Does to the sequences what a model would: everything planned is computed, ends are sampled. */
function compute(plan: Plan): void {
  const spans =
    plan.kind === 'prefill'
      ? plan.spans
      : plan.sequences.map((one) => ({ sequence: one, end: one.computed + 1 }));
  for (const { sequence: one, end } of spans) {
    one.computed = end;
    if (end === one.tokens.length) one.tokens.push(1);
  }
}

function setup(pages: number, pageSize = 4) {
  const blocks = new BlockManager(pages, pageSize);
  const scheduler = new Scheduler(blocks, limits);
  const add = (...sequences: Sequence[]) => {
    for (const one of sequences) {
      scheduler.check(one);
      scheduler.add(one);
    }
  };
  return { blocks, scheduler, add };
}

describe('Scheduler', () => {
  test('packs several prompts into one chunk and cuts the last', () => {
    const { scheduler, add } = setup(64);
    const [a, b] = [sequence(10), sequence(20)];
    add(a, b);
    const first = scheduler.next() as Plan;
    expect(first).toEqual({
      kind: 'prefill',
      spans: [
        { sequence: a, begin: 0, end: 10 },
        { sequence: b, begin: 0, end: 6 },
      ],
    });
    compute(first);
    const second = scheduler.next() as Plan;
    expect(second).toEqual({ kind: 'prefill', spans: [{ sequence: b, begin: 6, end: 20 }] });
    compute(second);
    expect(scheduler.next()).toEqual({ kind: 'decode', sequences: [a, b] });
  });

  test('takes no more sequences into a chunk than the program has rows for', () => {
    const { scheduler, add } = setup(64);
    add(sequence(2), sequence(2), sequence(2), sequence(2));
    const plan = scheduler.next();
    expect(plan?.kind === 'prefill' && plan.spans.length).toBe(3);
  });

  test('a prompt of one token goes straight to decoding', () => {
    const { scheduler, add } = setup(64);
    const one = sequence(1);
    add(one);
    expect(scheduler.next()).toEqual({ kind: 'decode', sequences: [one] });
  });

  test('runs at most maxBatch sequences, first come first served', () => {
    const { scheduler, add } = setup(64);
    const all = Array.from({ length: 6 }, () => sequence(1));
    add(...all);
    expect(scheduler.next()).toEqual({ kind: 'decode', sequences: all.slice(0, 4) });
    scheduler.remove(all[0] as Sequence);
    expect(scheduler.next()).toEqual({ kind: 'decode', sequences: all.slice(1, 5) });
  });

  test('takes pages for one token more than a step computes, but not beyond the end', () => {
    const { scheduler, add } = setup(64);
    const one = sequence(3, 3);
    add(one);
    compute(scheduler.next() as Plan);
    expect(one.pages).toHaveLength(1);
    compute(scheduler.next() as Plan);
    expect(one.pages).toHaveLength(2);
    // 3 prompt tokens and 2 of the 3 new ones are ever fed to the model.
    expect(one.maxComputed).toBe(5);
    compute(scheduler.next() as Plan);
    expect(one.pages).toHaveLength(2);
  });

  test('preempts the newest when pages run out, and takes it back first', () => {
    const { blocks, scheduler, add } = setup(8);
    const [a, b, c] = [sequence(11, 20), sequence(8, 8), sequence(2, 2)];
    add(a, b);
    compute(scheduler.next() as Plan);
    compute(scheduler.next() as Plan);
    add(c);
    let plan = scheduler.next() as Plan;
    while (scheduler.running.includes(b)) {
      compute(plan);
      plan = scheduler.next() as Plan;
      expect(scheduler.running[0]).toBe(a);
    }
    expect(b.pages).toEqual([]);
    expect(b.computed).toBe(0);
    expect(b.evictions).toBe(1);
    expect(b.generated).toBeGreaterThan(0);
    expect(scheduler.waiting).toEqual([b, c]);
    expect(blocks.free + a.pages.length).toBe(8);
    scheduler.remove(a);
    const again = scheduler.next();
    expect(again?.kind === 'prefill' && again.spans[0]?.sequence).toBe(b);
  });

  test('every request finishes, whatever the pressure, and all pages come back', () => {
    const { blocks, scheduler, add } = setup(9);
    const left = new Set(Array.from({ length: 12 }, (_, i) => sequence(1 + ((i * 7) % 20), 12)));
    add(...left);
    for (let step = 0; left.size > 0; step++) {
      expect(step).toBeLessThan(2000);
      compute(scheduler.next() as Plan);
      for (const one of left) {
        if (one.generated < one.maxNewTokens) continue;
        scheduler.remove(one);
        left.delete(one);
      }
    }
    expect(blocks.free).toBe(9);
    expect(scheduler.next()).toBeUndefined();
  });

  test('refuses a request that can never fit, with the numbers', () => {
    const { scheduler } = setup(4);
    expect(() => scheduler.check(sequence(10, 8))).toThrow(
      'needs 5 cache pages (10 prompt tokens and up to 8 new ones, 4 a page), but the cache has 4',
    );
    expect(() => scheduler.check(sequence(10, 7))).not.toThrow();
  });

  test('admits nobody while told so', () => {
    const { scheduler, add } = setup(64);
    add(sequence(3));
    expect(scheduler.next({ admit: false })).toBeUndefined();
    expect(scheduler.next()).toBeDefined();
  });
});
