import { Engine } from '../../lib/engine';
import { promptOf, spelling, TinyModel, VOCAB } from './tiny-model';

let model: TinyModel;
let engine: Engine;
beforeAll(() => {
  model = new TinyModel();
  engine = new Engine(model, { pageSize: 8 });
});
afterAll(async () => {
  await engine.dispose();
  model.dispose();
});

const prompt = promptOf(12);
const run = async (options: Parameters<Engine['generate']>[1], ids = prompt) =>
  (await engine.generate(ids, { maxNewTokens: 16, ...options }).result()).tokens;

describe('seeds', () => {
  test('same seed, same tokens; another seed, other tokens', async () => {
    const a = await run({ temperature: 1.5, seed: 11 });
    expect(await run({ temperature: 1.5, seed: 11 })).toEqual(a);
    expect(await run({ temperature: 1.5, seed: 12 })).not.toEqual(a);
  });

  test('without a seed every request differs, and reports the seed that repeats it', async () => {
    const first = await engine.generate(prompt, { temperature: 2, maxNewTokens: 16 }).result();
    const second = await engine.generate(prompt, { temperature: 2, maxNewTokens: 16 }).result();
    expect(second.tokens).not.toEqual(first.tokens);
    expect(await run({ temperature: 2, seed: first.seed })).toEqual(first.tokens);
  });

  test('all 64 bits of a seed count', async () => {
    const low = await run({ temperature: 2, seed: 1n });
    expect(await run({ temperature: 2, seed: 1n + 2n ** 32n })).not.toEqual(low);
    expect(await run({ temperature: 2, seed: -1 })).toEqual(
      await run({ temperature: 2, seed: 2n ** 64n - 1n }),
    );
  });

  test('the batch does not matter', async () => {
    const options = [
      { temperature: 1.2, seed: 1 },
      { temperature: 0.7, topK: 20, seed: 2 },
      {},
      { topP: 0.8, seed: 4, repetitionPenalty: 1.3 },
      { minP: 0.05, seed: 5 },
    ];
    const together = await Promise.all(options.map((one, i) => run(one, promptOf(5 + i, i))));
    for (const [i, one] of options.entries()) {
      expect(together[i]).toEqual(await run(one, promptOf(5 + i, i)));
    }
  });
});

describe('filters', () => {
  test('topK 1 and a tiny topP are greedy at any temperature', async () => {
    const greedy = model.greedy(prompt, 16);
    expect(await run({ temperature: 5, topK: 1, seed: 1 })).toEqual(greedy);
    expect(await run({ temperature: 0.5, topP: 1e-6, seed: 1 })).toEqual(greedy);
    expect(await run({ temperature: 0.5, minP: 1, seed: 1 })).toEqual(greedy);
  });

  test('draws follow the softmax of the logits', async () => {
    const logits = model.eagerLogits(prompt).slice(-VOCAB);
    const most = Math.max(...logits);
    const weights = Array.from(logits, (logit) => Math.exp(logit - most));
    const mass = weights.reduce((sum, weight) => sum + weight, 0);
    const counts = new Array<number>(VOCAB).fill(0);
    const draws = 2000;
    const runs = await engine.generateAll(
      Array.from({ length: draws }, () => prompt),
      { temperature: 1, maxNewTokens: 1 },
    );
    for (const { tokens } of runs) (counts[tokens[0] as number] as number)++;
    for (const [token, count] of counts.entries()) {
      const p = (weights[token] as number) / mass;
      const deviation = Math.sqrt(draws * p * (1 - p));
      expect(Math.abs(count - draws * p)).toBeLessThan(5 * deviation + 3);
    }
  });
});

describe('repetition penalty', () => {
  test('counts the prompt and the tokens so far, as Hugging Face does', async () => {
    const plain = await run({});
    const penalised = await run({ repetitionPenalty: 1.7 });
    expect(penalised).toEqual(model.greedy(prompt, 16, 1.7));
    expect(penalised).not.toEqual(plain);
  });

  test('holds when other requests come and go', async () => {
    const expected = model.greedy(prompt, 30, 1.7);
    const generation = engine.generate(prompt, { maxNewTokens: 30, repetitionPenalty: 1.7 });
    for (let i = 0; i < 5; i++) await generation.next();
    await Promise.all([run({ maxNewTokens: 3 }), run({ maxNewTokens: 6, repetitionPenalty: 2 })]);
    expect((await generation.result()).tokens).toEqual(expected);
  });
});

describe.each([false, true])('the end of a text, lookahead %p', (lookahead) => {
  const greedy = () => model.greedy(prompt, 16);

  test('a stop token ends it and is not part of it', async () => {
    await using own = new Engine(model, { lookahead });
    const tokens = greedy();
    const stop = tokens[7] as number;
    const result = await own.generate(prompt, { stopTokenIds: [stop] }, spelling).result();
    const expected = tokens.slice(0, tokens.indexOf(stop));
    expect(result).toMatchObject({ tokens: expected, finishReason: 'stop' });
    expect(result.text).toBe(expected.map((id) => `<${id}>`).join(''));
  });

  test('so does the end-of-sequence token, unless it is ignored', async () => {
    const tokens = greedy();
    const eos = tokens[5] as number;
    await using own = new Engine(model, { lookahead, eosTokenIds: [eos] });
    const result = await own.generate(prompt, { maxNewTokens: 16 }).result();
    expect(result.tokens).toEqual(tokens.slice(0, tokens.indexOf(eos)));
    expect(result.finishReason).toBe('stop');
    const on = await own.generate(prompt, { maxNewTokens: 16, ignoreEos: true }).result();
    expect(on).toMatchObject({ tokens, finishReason: 'length' });
  });

  test('others in the batch go on undisturbed', async () => {
    const tokens = greedy();
    await using own = new Engine(model, { lookahead, eosTokenIds: [tokens[5] as number] });
    const other = promptOf(20, 9);
    const [, long] = await Promise.all([
      own.generate(prompt).result(),
      own.generate(other, { maxNewTokens: 40, ignoreEos: true }).result(),
    ]);
    expect(long.tokens).toEqual(model.greedy(other, 40));
  });

  test('a stop string over several tokens ends the text before it', async () => {
    await using own = new Engine(model, { lookahead });
    const tokens = greedy();
    const stop = `${tokens[6]}><${tokens[7]}`;
    const events: string[] = [];
    const generation = own.generate(prompt, { stop, maxNewTokens: 16 }, spelling);
    for await (const { text } of generation) events.push(text);
    const whole = tokens.map((id) => `<${id}>`).join('');
    expect(events.join('')).toBe(whole.slice(0, whole.indexOf(stop)));
    expect(generation.finishReason).toBe('stop_string');
    expect(own.usage.running).toBeLessThanOrEqual(1);
  });

  test('text held back for a stop string that never comes is given at the end', async () => {
    await using own = new Engine(model, { lookahead });
    const tokens = greedy().slice(0, 4);
    const stop = `<${tokens[3]}>#`;
    const { text, finishReason } = await own
      .generate(prompt, { stop, maxNewTokens: 4 }, spelling)
      .result();
    expect(text).toBe(tokens.map((id) => `<${id}>`).join(''));
    expect(finishReason).toBe('length');
  });
});

test('a decoder sees the end of the prompt first, and its text is dropped', async () => {
  const pushed: number[] = [];
  const source = {
    streamDecoder: () => ({
      push: (id: number) => {
        pushed.push(id);
        return '.';
      },
      flush: () => '!',
    }),
  };
  const { text, tokens } = await engine.generate(prompt, { maxNewTokens: 3 }, source).result();
  expect(text).toBe('...!');
  expect(pushed).toEqual([...prompt.slice(-8), ...tokens]);
});

test('stop strings need a tokenizer', () => {
  expect(() => engine.generate(prompt, { stop: 'x' })).toThrow('stop strings need a tokenizer');
});
