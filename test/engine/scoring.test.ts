import { Engine } from '../../lib/engine';
import { promptOf, TinyModel, VOCAB } from './tiny-model';

let model: TinyModel;
let longModel: TinyModel;
beforeAll(() => {
  model = new TinyModel();
  longModel = new TinyModel({ maxPositions: 4096 });
});
afterAll(() => {
  model.dispose();
  longModel.dispose();
});

const batch = [promptOf(20, 1), promptOf(70, 2), promptOf(1, 3), promptOf(33, 4)];

/** Norm of the difference over the norm of the expected values. */
function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let [error, norm] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    error += ((actual[i] as number) - (expected[i] as number)) ** 2;
    norm += (expected[i] as number) ** 2;
  }
  return Math.sqrt(error / norm);
}

function nllOf(ids: readonly number[]): number[] {
  const logits = model.eagerLogits(ids);
  return ids.slice(1).map((target, t) => {
    const row = logits.subarray(t * VOCAB, (t + 1) * VOCAB);
    const sum = row.reduce((total, logit) => total + Math.exp(logit), 0);
    return Math.log(sum) - (row[target] as number);
  });
}

describe.each([16, 32, 512])('chunks of at most %p rows', (maxChunk) => {
  test('forward: recorded logits equal eager ones, zeros past the end', async () => {
    await using engine = new Engine(model, { maxChunk, pageSize: 8 });
    const { logits, shape } = await engine.forward(batch);
    expect(shape).toEqual([4, 70, VOCAB]);
    for (const [i, ids] of batch.entries()) {
      const row = logits.subarray(i * 70 * VOCAB, (i + 1) * 70 * VOCAB);
      const own = row.subarray(0, ids.length * VOCAB);
      expect(relativeError(own, model.eagerLogits(ids))).toBeLessThan(1e-5);
      expect(row.subarray(ids.length * VOCAB).every((value) => value === 0)).toBe(true);
    }
    expect(engine.usage.freePages).toBe(engine.usage.pages);
  });

  test('nll: of each token after the first', async () => {
    await using engine = new Engine(model, { maxChunk, pageSize: 8 });
    const results = await engine.nll(batch.map((ids) => Uint16Array.from(ids)));
    for (const [i, ids] of batch.entries()) {
      expect(results[i]).toHaveLength(ids.length - 1);
      if (ids.length > 1) {
        expect(relativeError(results[i] as Float32Array, nllOf(ids))).toBeLessThan(1e-5);
      }
    }
    expect(engine.usage.freePages).toBe(engine.usage.pages);
  });
});

test('more sequences than fit in the cache at once', async () => {
  await using engine = new Engine(model, { pageSize: 8, pages: 9 });
  const many = Array.from({ length: 40 }, (_, i) => promptOf(20 + i, i));
  const results = await engine.nll(many);
  for (const [i, ids] of many.entries()) {
    expect(relativeError(results[i] as Float32Array, nllOf(ids))).toBeLessThan(1e-5);
  }
});

test('scoring and generation share the engine and its pages', async () => {
  await using engine = new Engine(model, { pageSize: 8, pages: 14, maxChunk: 16 });
  const generations = [5, 6, 7].map((seed) =>
    engine.generate(promptOf(20, seed), { maxNewTokens: 40 }).result(),
  );
  const scores = [1, 2, 3].map((seed) => engine.nll([promptOf(70, seed), promptOf(40, seed)]));
  const generated = await Promise.all(generations);
  for (const [i, seed] of [5, 6, 7].entries()) {
    expect(generated[i]?.tokens).toEqual(model.greedy(promptOf(20, seed), 40));
  }
  for (const [i, seed] of [1, 2, 3].entries()) {
    const [long] = (await scores[i]) as Float32Array[];
    expect(relativeError(long as Float32Array, nllOf(promptOf(70, seed)))).toBeLessThan(1e-5);
  }
  expect(engine.usage.freePages).toBe(14);
});

test('a signal stops scoring; the engine goes on', async () => {
  await using engine = new Engine(model, { maxChunk: 16 });
  const controller = new AbortController();
  const scoring = engine.nll(
    Array.from({ length: 50 }, () => promptOf(200)),
    { signal: controller.signal },
  );
  controller.abort(new Error('enough'));
  await expect(scoring).rejects.toThrow('enough');
  await expect(engine.forward([[1]], { signal: AbortSignal.abort('why') })).rejects.toBe('why');
  expect(engine.usage.freePages).toBe(engine.usage.pages);
  expect(await engine.nll([[1, 2]])).toHaveLength(1);
});

test('refuses sequences that the cache cannot hold, and results that memory cannot', async () => {
  await using engine = new Engine(model, { pageSize: 8, pages: 4 });
  await expect(engine.forward([promptOf(33)])).rejects.toThrow('ids[0] has 33 tokens');
  await using wide = new Engine(longModel, { pages: 64 });
  const many = [promptOf(4096), ...new Array<number[]>(6000).fill([1])];
  await expect(wide.forward(many)).rejects.toThrow('more than 8 GiB');
});
