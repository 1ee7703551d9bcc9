import type { GenerationResult } from '../../lib';
import { sampleExpected, sampleFolder } from '../support/golden';
import { fewbit, fewbitJson } from './fewbit';

const opt = sampleFolder('sample-opt');
const { greedy_prompt: prompt, greedy_ids: ids } = sampleExpected('sample-opt');

interface Generated extends GenerationResult {
  prompt: string;
  seconds: number;
  tokensPerSecond: number;
}

const generate = (...args: string[]) =>
  fewbitJson<Generated>(['generate', opt, '--max-new-tokens', '8', ...args]);

test('continues a prompt as transformers does, and says how fast', async () => {
  const result = await generate('--prompt', prompt);
  const { promptTokens, tokens } = result;
  expect(tokens).toEqual(ids.slice(promptTokens, promptTokens + 8));
  expect(result).toMatchObject({ prompt, finishReason: 'length', seed: expect.any(Number) });
  expect(result.tokensPerSecond).toBeCloseTo(8 / result.seconds, 3);

  const human = await fewbit(['generate', opt, '--prompt', prompt, '--max-new-tokens', '8']);
  expect(human).toEqual({ code: 0, stdout: `${result.text}\n`, stderr: '' });
});

test('reads a prompt from stdin', async () => {
  const args = ['generate', opt, '--prompt', '-', '--max-new-tokens', '4'];
  const result = await fewbitJson<Generated>(args, { input: prompt });
  expect(result.prompt).toBe(prompt);
});

test('the seed decides, and 64 bits of it survive', async () => {
  const sampled = (seed: string) =>
    generate('--prompt', 'Once', '--temperature', '1', '--seed', seed);
  const first = await sampled('18446744073709551615');
  expect(first.seed).toBe('18446744073709551615');
  expect((await sampled('18446744073709551615')).tokens).toEqual(first.tokens);
  expect((await sampled('1')).tokens).not.toEqual(first.tokens);
});

test('passes every sampling option on', async () => {
  const filters = ['--temperature', '5', '--top-k', '1', '--top-p', '0.5', '--min-p', '0.1'];
  const greedy = await generate('--prompt', prompt);
  // One candidate is left at any temperature.
  const narrow = await generate('--prompt', prompt, ...filters, '--ignore-eos');
  expect(narrow.tokens).toEqual(greedy.tokens);
  const penalised = await generate('--prompt', prompt, '--repetition-penalty', '50');
  expect(penalised.tokens).not.toEqual(greedy.tokens);
  const word = greedy.text.trim().split(' ').at(-1) as string;
  const stopped = await generate('--prompt', prompt, '--stop', 'zebra', '--stop', word);
  expect(stopped).toMatchObject({ finishReason: 'stop_string' });
  expect(greedy.text.startsWith(stopped.text)).toBe(true);
  expect(stopped.text).not.toContain(word);
});

test('several prompts are one batch', async () => {
  const both = ['--prompt', prompt, '--prompt', 'Once upon a time'];
  const { results, tokensPerSecond } = await fewbitJson<{
    results: Generated[];
    tokensPerSecond: number;
  }>(['generate', opt, '--max-new-tokens', '8', ...both]);
  expect(results.map((result) => result.prompt)).toEqual([prompt, 'Once upon a time']);
  expect(results[0]?.tokens).toEqual((await generate('--prompt', prompt)).tokens);
  expect(tokensPerSecond).toBeGreaterThan(0);

  const human = await fewbit(['generate', opt, '--max-new-tokens', '8', ...both]);
  const [one, two] = results as [Generated, Generated];
  expect(human.stdout).toBe(`[1] ${prompt}\n${one.text}\n\n[2] Once upon a time\n${two.text}\n`);
});

test('runs in LLM.int8() and with a number of threads', async () => {
  const quantization = 'llm.int8,threshold=5,mode=bitsandbytes,skip-modules=fc1+fc2';
  const result = await generate(
    '--prompt',
    prompt,
    '--quantization',
    quantization,
    '--threads',
    '1',
  );
  expect(result.tokens).toHaveLength(8);
});
