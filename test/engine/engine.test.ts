import { Engine } from '../../lib/engine';
import { promptOf, TinyModel, until } from './tiny-model';

let model: TinyModel;
beforeAll(() => {
  model = new TinyModel();
});
afterAll(() => model.dispose());

const lengths = [1, 2, 7, 16, 17, 33, 70];
const prompts = lengths.map((length, i) => promptOf(length, i + 1));

describe.each([false, true])('Engine, lookahead %p', (lookahead) => {
  test('decoding with the cache equals full recomputation', async () => {
    await using engine = new Engine(model, { lookahead, pageSize: 8 });
    for (const prompt of prompts) {
      const { tokens, finishReason } = await engine.generate(prompt, { maxNewTokens: 24 }).result();
      expect(tokens).toEqual(model.greedy(prompt, 24));
      expect(finishReason).toBe('length');
    }
    expect(new Set(model.greedy(prompts[3] as number[], 24)).size).toBeGreaterThan(4);
  });

  test('sequences of different lengths share a batch and change nothing', async () => {
    await using engine = new Engine(model, { lookahead, pageSize: 8 });
    const results = await engine.generateAll(prompts, { maxNewTokens: 24 });
    const alone = prompts.map((prompt) => model.greedy(prompt, 24));
    expect(results.map(({ tokens }) => tokens)).toEqual(alone);
  });

  test('requests that come later join the batch under way', async () => {
    await using engine = new Engine(model, { lookahead, pageSize: 8 });
    const first = engine.generate(prompts[5] as number[], { maxNewTokens: 40 });
    for (let i = 0; i < 5; i++) await first.next();
    const second = engine.generate(prompts[3] as number[], { maxNewTokens: 10 });
    const joined = (await second.next()) && !first.ended;
    expect(joined).toBe(true);
    expect((await second.result()).tokens).toEqual(model.greedy(prompts[3] as number[], 10));
    expect((await first.result()).tokens).toEqual(model.greedy(prompts[5] as number[], 40));
  });

  test('one after the other when only one fits in the batch', async () => {
    await using engine = new Engine(model, { lookahead, maxBatch: 1 });
    const results = await engine.generateAll(prompts, { maxNewTokens: 5 });
    expect(results.map(({ tokens }) => tokens)).toEqual(
      prompts.map((prompt) => model.greedy(prompt, 5)),
    );
  });

  test('preempted sequences are recomputed to the same tokens', async () => {
    await using engine = new Engine(model, { lookahead, pageSize: 4, pages: 26 });
    const sampling = { temperature: 0.8, topP: 0.9, seed: 3 };
    for (const options of [{}, sampling, { ...sampling, repetitionPenalty: 1.2 }]) {
      const request = { ...options, maxNewTokens: 30 };
      const { preemptions } = engine.usage;
      const together = await engine.generateAll(prompts, request);
      expect(engine.usage.preemptions).toBeGreaterThan(preemptions);
      for (const [i, prompt] of prompts.entries()) {
        const alone = await engine.generate(prompt, request).result();
        expect(together[i]?.tokens).toEqual(alone.tokens);
      }
    }
    expect(engine.usage.freePages).toBe(26);
  });

  test('the last token that the context has room for ends the text', async () => {
    await using engine = new Engine(model, { lookahead, pageSize: 8, maxContext: 40 });
    const prompt = promptOf(33);
    const { tokens, finishReason } = await engine.generate(prompt).result();
    expect(finishReason).toBe('length');
    expect(tokens).toEqual(model.greedy(prompt, 8));
    const full = await engine.generate(promptOf(40)).result();
    expect(full.tokens).toEqual(model.greedy(promptOf(40), 1));
  });

  test('usage returns to nothing and memory to where it was', async () => {
    const before = model.device.memory().used;
    const engine = new Engine(model, { lookahead, pageSize: 8 });
    await engine.generateAll(prompts, { maxNewTokens: 9, repetitionPenalty: 1.1 });
    await engine.forward(prompts);
    await engine.nll(prompts);
    const { pages } = engine.usage;
    expect(engine.usage).toMatchObject({ running: 0, waiting: 0, freePages: pages });
    await engine.dispose();
    await until(() => model.device.memory().used === before);
  });
});

test('chunks of any size give the same tokens', async () => {
  const long = [promptOf(200, 3), promptOf(90, 4), promptOf(5, 5)];
  const expected = long.map((prompt) => model.greedy(prompt, 12));
  for (const maxChunk of [16, 32, 64, 512]) {
    await using engine = new Engine(model, { maxChunk, pageSize: 16 });
    const results = await engine.generateAll(long, { maxNewTokens: 12 });
    expect(results.map(({ tokens }) => tokens)).toEqual(expected);
  }
});

test('pages of any size give the same tokens', async () => {
  const prompt = promptOf(50);
  const expected = model.greedy(prompt, 30);
  for (const pageSize of [1, 3, 16, 64, 256]) {
    await using engine = new Engine(model, { pageSize });
    expect((await engine.generate(prompt, { maxNewTokens: 30 }).result()).tokens).toEqual(expected);
  }
});

test('engines of one model work side by side', async () => {
  await using a = new Engine(model, { maxBatch: 2 });
  await using b = new Engine(model, { maxBatch: 4, pageSize: 8 });
  const run = (engine: Engine) => engine.generateAll(prompts, { maxNewTokens: 16 });
  const [ofA, ofB] = await Promise.all([run(a), run(b)]);
  expect(ofA.map(({ tokens }) => tokens)).toEqual(ofB.map(({ tokens }) => tokens));
});
