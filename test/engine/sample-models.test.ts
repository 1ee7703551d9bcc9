import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { AutoModelForCausalLM, AutoTokenizer, Engine, type Tokenizer } from '../../lib';
import type { CausalLanguageModel } from '../../lib/pretrained/model';

const samples = join(__dirname, '../../samples');
interface Expected {
  greedy_prompt: string;
  greedy_ids: number[];
}
const expected = JSON.parse(readFileSync(join(samples, 'text/expected.json'), 'utf8')) as {
  models: Record<string, Expected>;
};
const bytes = readFileSync(join(samples, 'text/heldout-ids.u16'));
const heldout = Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readUInt16LE(2 * i));
const excerpt = (begin: number, length: number) => heldout.slice(begin, begin + length);

describe.each(['sample-llama', 'sample-opt'])('%s', (name) => {
  let model: CausalLanguageModel;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    const folder = join(samples, name);
    model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
    tokenizer = await AutoTokenizer.fromPretrained(folder);
  });
  afterAll(() => model.dispose());

  const engineOf = (options: ConstructorParameters<typeof Engine>[1]) =>
    new Engine(model.transformer, options);
  const prompts = [excerpt(0, 3), excerpt(100, 40), excerpt(200, 131), excerpt(600, 17)];

  test('greedy continuation as computed by Hugging Face transformers', async () => {
    const { greedy_prompt, greedy_ids } = expected.models[name] as Expected;
    const prompt = tokenizer.encode(greedy_prompt);
    expect(greedy_ids.slice(0, prompt.length)).toEqual(prompt);
    const { logits, shape } = await model.forward([greedy_ids]);
    const logit = (position: number, id: number) =>
      logits[(position - 1) * shape[2] + id] as number;
    let agreed = prompt.length;
    let ties = 0;
    while (agreed < greedy_ids.length) {
      const options = { maxNewTokens: greedy_ids.length - agreed, ignoreEos: true };
      const given = greedy_ids.slice(0, agreed);
      const { tokens } = await model.engine.generate(given, options).result();
      const split = tokens.findIndex((token, i) => token !== greedy_ids[agreed + i]);
      if (split < 0) break;
      // Those ids were computed in fp16, where logits around 10 are 0.008 apart.
      const [ours, theirs] = [tokens[split] as number, greedy_ids[agreed + split] as number];
      const gap = logit(agreed + split, ours) - logit(agreed + split, theirs);
      expect(gap).toBeLessThan(0.008);
      agreed += split + 1;
      ties++;
    }
    expect(ties).toBeLessThan(3);
  });

  test('decoding with the cache equals a forward pass over the whole text', async () => {
    for (const prompt of prompts) {
      const { tokens } = await model.engine
        .generate(prompt, { maxNewTokens: 40, ignoreEos: true })
        .result();
      const { logits, shape } = await model.forward([[...prompt, ...tokens]]);
      const vocab = shape[2];
      const best = tokens.map((_, i) => {
        const begin = (prompt.length - 1 + i) * vocab;
        const row = logits.subarray(begin, begin + vocab);
        return row.indexOf(row.reduce((most, logit) => Math.max(most, logit)));
      });
      expect(best).toEqual(tokens);
    }
  });

  test('chunks, batches, lookahead and preemption give the same tokens', async () => {
    const options = { maxNewTokens: 40, temperature: 0.8, topP: 0.95, seed: 7, ignoreEos: true };
    const alone: number[][] = [];
    for (const prompt of prompts) {
      alone.push((await model.engine.generate(prompt, options).result()).tokens);
    }
    for (const sizes of [
      {},
      { maxChunk: 16 },
      { maxChunk: 64, lookahead: true, pageSize: 16 },
      { pageSize: 16, pages: 14, lookahead: true },
      { pageSize: 16, pages: 14 },
    ]) {
      await using engine = engineOf(sizes);
      const results = await engine.generateAll(prompts, options);
      expect(results.map(({ tokens }) => tokens)).toEqual(alone);
      expect(engine.usage.preemptions > 0).toBe('pages' in sizes);
    }
  });

  test('the pieces of a stream are the text of its tokens', async () => {
    const pieces: string[] = [];
    const generation = model.stream(tokenizer, 'The old man said', { maxNewTokens: 60 });
    for await (const { text } of generation) pieces.push(text);
    const { tokens, text } = await generation.result();
    expect(pieces.join('')).toBe(text);
    expect(text).toBe(tokenizer.decode(tokens, { skipSpecialTokens: true }));
    expect(text.length).toBeGreaterThan(60);
  });

  test('the event loop is free while the CPU generates', async () => {
    let lag = Number.POSITIVE_INFINITY;
    // Whatever else keeps the machine busy adds to the lag, so the best of a few runs counts.
    for (let attempt = 0; attempt < 6 && lag >= 20; attempt++) {
      await using engine = engineOf({});
      const delay = monitorEventLoopDelay({ resolution: 1 });
      delay.enable();
      await engine.generateAll([...prompts, excerpt(1000, 400)], {
        maxNewTokens: 60,
        ignoreEos: true,
      });
      delay.disable();
      expect(delay.count).toBeGreaterThan(50);
      lag = delay.max / 1e6;
    }
    expect(lag).toBeLessThan(20);
  });
});
