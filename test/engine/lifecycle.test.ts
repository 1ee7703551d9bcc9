import { getEventListeners } from 'node:events';
import { Engine } from '../../lib/engine';
import { DisposedError, OptionsError } from '../../lib/errors';
import { NAN_TOKEN, promptOf, TinyModel, until } from './tiny-model';

let model: TinyModel;
beforeAll(() => {
  model = new TinyModel();
});
afterEach(() => jest.restoreAllMocks());
afterAll(() => model.dispose());

const prompt = promptOf(12);

function idle(engine: Engine): boolean {
  const { running, waiting, freePages, pages } = engine.usage;
  return running === 0 && waiting === 0 && freePages === pages;
}

describe.each([false, true])('abort, lookahead %p', (lookahead) => {
  let engine: Engine;
  beforeEach(() => {
    engine = new Engine(model, { lookahead, pageSize: 4, maxBatch: 2 });
  });
  afterEach(() => engine.dispose());

  test('before the start: rejects with the reason and takes nothing', async () => {
    const signal = AbortSignal.abort(new Error('too late'));
    const generation = engine.generate(prompt, { signal });
    expect(idle(engine)).toBe(true);
    await expect(generation.result()).rejects.toThrow('too late');
    await expect(generation.next()).rejects.toThrow('too late');
  });

  test('while it waits', async () => {
    const others = [1, 2].map(() => engine.generate(prompt, { maxNewTokens: 60 }));
    const controller = new AbortController();
    const generation = engine.generate(prompt, { signal: controller.signal });
    await others[0]?.next();
    expect(engine.usage).toMatchObject({ running: 2, waiting: 1 });
    controller.abort();
    await expect(generation.result()).rejects.toBe(controller.signal.reason);
    await Promise.all(others.map((other) => other.result()));
    await until(() => idle(engine));
  });

  test('in the middle: the pages are free, the neighbour is not disturbed', async () => {
    const controller = new AbortController();
    const neighbour = engine.generate(promptOf(9, 4), { maxNewTokens: 40 });
    const generation = engine.generate(prompt, { signal: controller.signal, maxNewTokens: 200 });
    const seen: number[] = [];
    await expect(async () => {
      for await (const { token } of generation) {
        seen.push(token as number);
        if (seen.length === 5) controller.abort(new Error('enough'));
      }
    }).rejects.toThrow('enough');
    expect(seen).toEqual(model.greedy(prompt, 5));
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
    await generation.return();
    expect(engine.usage.running).toBeLessThan(2);
    const held = engine.usage.running * Math.ceil((9 + 40) / 4);
    expect(engine.usage.pages - engine.usage.freePages).toBeLessThanOrEqual(held);
    expect((await neighbour.result()).tokens).toEqual(model.greedy(promptOf(9, 4), 40));
    await until(() => idle(engine));
  });

  test('during prefill', async () => {
    const controller = new AbortController();
    const slow = new Engine(model, { lookahead, pageSize: 4, maxChunk: 16 });
    const generation = slow.generate(promptOf(200), { signal: controller.signal });
    // The first chunk is submitted within this turn of the event loop, and not done in it.
    for (let i = 0; i < 10; i++) await Promise.resolve();
    expect(slow.usage.running).toBe(1);
    controller.abort();
    await expect(generation.result()).rejects.toBe(controller.signal.reason);
    await until(() => idle(slow));
    await slow.dispose();
  });

  test('break: the pages are free when the loop is left', async () => {
    const generation = engine.generate(prompt, { maxNewTokens: 200 });
    for await (const _ of generation) break;
    expect(idle(engine)).toBe(true);
    expect(generation.finishReason).toBe('abort');
  });

  test('one signal for many requests leaves no listener behind', async () => {
    const controller = new AbortController();
    const all = engine.generateAll([prompt, promptOf(3), promptOf(5)], {
      signal: controller.signal,
      maxNewTokens: 4,
    });
    expect(getEventListeners(controller.signal, 'abort').length).toBe(3);
    await all;
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
  });

  test('a reader that never comes back does not stop others', async () => {
    const ignored = engine.generate(prompt, { maxNewTokens: 30 });
    await ignored.next();
    await engine.generate(promptOf(4), { maxNewTokens: 60 }).result();
    const rest: unknown[] = [];
    for await (const { token } of ignored) rest.push(token);
    expect(rest).toEqual(model.greedy(prompt, 30).slice(1));
  });
});

describe('dispose', () => {
  test.each([false, true])('rejects what is pending, lookahead %p', async (lookahead) => {
    const before = model.device.memory().used;
    const engine = new Engine(model, { maxBatch: 2, lookahead });
    const generations = [1, 2, 3].map((seed) => engine.generate(promptOf(9, seed)));
    const scoring = engine.nll([promptOf(200)]);
    await generations[0]?.next();
    const reading = generations[1]?.next().then(() => generations[1]?.next());
    const outcomes = Promise.allSettled([
      ...generations.map((generation) => generation.result()),
      generations[2]?.next(),
    ]);
    scoring.catch(() => {});
    reading?.catch(() => {});
    await engine.dispose();
    for (const outcome of await outcomes) {
      expect(outcome.status === 'rejected' && outcome.reason).toBeInstanceOf(DisposedError);
    }
    await until(() => model.device.memory().used === before);
  });

  test('is idempotent, and the engine is unusable afterwards', async () => {
    const engine = new Engine(model);
    await engine.dispose();
    await engine.dispose();
    expect(() => engine.generate(prompt)).toThrow(DisposedError);
    await expect(engine.forward([prompt])).rejects.toThrow(DisposedError);
    await expect(engine.nll([prompt])).rejects.toThrow(DisposedError);
    await expect(engine.generateAll([prompt])).rejects.toThrow(DisposedError);
  });

  test('many engines one after the other keep the memory flat', async () => {
    const before = model.device.memory().used;
    for (let i = 0; i < 50; i++) {
      await using engine = new Engine(model, { pages: 8, maxBatch: 2 });
      await engine.generate(prompt, { maxNewTokens: 2 }).result();
    }
    await until(() => model.device.memory().used === before);
  });
});

describe('failures', () => {
  test('NaN logits fail that request alone', async () => {
    await using engine = new Engine(model);
    const healthy = engine.generate(promptOf(6), { maxNewTokens: 20 });
    const sick = engine.generate([1, 2, NAN_TOKEN], { maxNewTokens: 20 });
    await expect(sick.result()).rejects.toMatchObject({ code: 'ERR_FEWBIT_NAN' });
    expect((await healthy.result()).tokens).toEqual(model.greedy(promptOf(6), 20));
    await until(() => idle(engine));
  });

  test.each([false, true])('a step that fails, lookahead %p', async (lookahead) => {
    await using engine = new Engine(model, { lookahead });
    const generation = engine.generate(prompt, { maxNewTokens: 50 });
    await generation.next();
    jest.spyOn(model.device, 'submit').mockRejectedValueOnce(new Error('device lost'));
    await expect(generation.result()).rejects.toThrow('device lost');
    await until(() => idle(engine));
    const again = await engine.generate(prompt, { maxNewTokens: 6 }).result();
    expect(again.tokens).toEqual(model.greedy(prompt, 6));
  });

  test('a decoder that throws fails its own request', async () => {
    await using engine = new Engine(model);
    const source = {
      streamDecoder: () => ({
        push: (id: number) => {
          if (!prompt.includes(id)) throw new Error(`cannot decode`);
          return '';
        },
        flush: () => '',
      }),
    };
    const bad = engine.generate(prompt, { maxNewTokens: 20 }, source);
    const good = engine.generate(prompt, { maxNewTokens: 20 });
    await expect(bad.result()).rejects.toThrow('cannot decode');
    expect((await good.result()).tokens).toHaveLength(20);
  });

  test('one bad request of several ends the others', async () => {
    await using engine = new Engine(model);
    await expect(
      engine.generateAll([prompt, [NAN_TOKEN, 1], promptOf(3)], { maxNewTokens: 200 }),
    ).rejects.toMatchObject({ code: 'ERR_FEWBIT_NAN' });
    expect(idle(engine)).toBe(true);
  });
});

describe('refused arguments', () => {
  let engine: Engine;
  beforeAll(() => {
    engine = new Engine(model, { pageSize: 8, pages: 4, maxContext: 64 });
  });
  afterAll(() => engine.dispose());

  const wrong: [string, unknown, string][] = [
    ['an empty prompt', [], 'prompt is empty'],
    ['a negative id', [1, -1], 'prompt[1] is -1: token ids are whole numbers from 0 to 96'],
    ['an id past the vocabulary', [97], 'prompt[0] is 97'],
    ['a fraction', [1, 2, 0.5], 'prompt[2] is 0.5'],
    ['a hole', new Array(2), 'prompt[0] is undefined'],
    ['a string', 'hello', 'prompt must be an array of token ids'],
    ['nothing', undefined, 'prompt must be an array of token ids'],
    ['a prompt beyond the context', promptOf(65), 'prompt has 65 tokens, but the context is'],
    ['more than the cache holds', promptOf(30), 'needs 8 cache pages'],
  ];
  test.each(wrong)('%s', (_, ids, message) => {
    expect(() => engine.generate(ids as number[])).toThrow(OptionsError);
    expect(() => engine.generate(ids as number[])).toThrow(message);
    expect(idle(engine)).toBe(true);
  });

  test('of a batch, with its place', async () => {
    await expect(engine.forward([[1], [2, 97]])).rejects.toThrow('ids[1][1] is 97');
    await expect(engine.nll([[1], []])).rejects.toThrow('windows[1] is empty');
    await expect(engine.generateAll([[1], [2, 99]])).rejects.toThrow('prompts[1][1] is 99');
    await expect(engine.forward([])).rejects.toThrow('non-empty array');
  });

  const sizes: [object, string][] = [
    [{ maxBatch: 0 }, 'maxBatch must be a whole number from 1'],
    [{ maxContext: 257 }, 'maxContext must be a whole number from 1 to 256, got 257'],
    [{ maxChunk: 48 }, 'maxChunk must be a power of two, got 48'],
    [{ pages: 1, kvBytes: 1 }, 'give one of them'],
    [{ kvBytes: 100 }, 'less than one page of 64 tokens (16384 bytes)'],
    [{ eosTokenIds: [97] }, 'eosTokenIds[0] is 97'],
  ];
  test.each(sizes)('engine options %j', (options, message) => {
    const before = model.device.memory().used;
    expect(() => new Engine(model, options)).toThrow(message);
    expect(model.device.memory().used).toBe(before);
  });

  test('kvBytes buys whole pages', async () => {
    await using own = new Engine(model, { kvBytes: 3.5 * 16384 });
    expect(own.usage).toMatchObject({ pages: 3, cacheBytes: 3 * 16384 });
  });
});

test.each([false, true])(
  'steps leave the event loop its turns, lookahead %p',
  async (lookahead) => {
    await using engine = new Engine(model, { lookahead });
    let longest = Number.POSITIVE_INFINITY;
    // Whatever else keeps the machine busy adds to the gaps, so the best of a few runs counts.
    for (let attempt = 0; attempt < 8 && longest >= 10; attempt++) {
      const begin = performance.now();
      let last = begin;
      longest = 0;
      const measure = () => {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
      };
      const timer = setInterval(measure, 1);
      // More than once, so that it lasts on fast machines, too.
      for (let run = 0; run < 6; run++) {
        await engine.generate(prompt, { maxNewTokens: 240 }).result();
      }
      clearInterval(timer);
      measure();
      expect(performance.now() - begin).toBeGreaterThan(10);
    }
    expect(longest).toBeLessThan(10);
  },
);
