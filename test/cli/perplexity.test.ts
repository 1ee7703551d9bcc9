import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { goldenFolder, sampleFolder } from '../support/golden';
import { HELDOUT_IDS, HELDOUT_TEXT } from '../support/samples';
import { temporaryFolder } from '../support/temporary-folder';
import { fewbit, fewbitJson } from './fewbit';

const opt = sampleFolder('sample-opt');
const root = temporaryFolder();

interface Result {
  perplexity: number;
  tokens: number;
  predictions: number;
  windows: number;
  window: number;
  seconds: number;
  weightBytes: number;
  int8Share?: number;
}

const measure = (model: string, ...args: string[]) =>
  fewbitJson<Result>(['perplexity', model, ...args]);

test('measures ids, in 16 bits and in LLM.int8()', async () => {
  const args = ['--ids', HELDOUT_IDS, '--limit', '3'];
  const plain = await measure(opt, ...args);
  expect(plain).toMatchObject({ tokens: 1536, predictions: 1533, windows: 3, window: 512 });
  expect(plain.perplexity).toBeCloseTo(37, -1);
  expect(plain.seconds).toBeGreaterThan(0);
  expect(plain.int8Share).toBeUndefined();
  const int8 = await measure(opt, ...args, '--quantization', 'llm.int8');
  expect(Math.abs(int8.perplexity / plain.perplexity - 1)).toBeLessThan(0.01);
  expect(int8.weightBytes).toBeLessThan(0.7 * plain.weightBytes);
  expect(int8.int8Share).toBeGreaterThan(0.98);

  const human = await fewbit(['perplexity', opt, ...args]);
  expect(human).toMatchObject({ code: 0, stderr: '' });
  expect(human.stdout).toMatch(
    new RegExp(
      `^perplexity ${plain.perplexity.toFixed(4)} on 1,536 tokens \\(3 windows of 512\\), `,
    ),
  );
});

test('measures a text, tokenized without special tokens', async () => {
  const text = join(root, 'short.txt');
  writeFileSync(text, 'It was a dark night, and the old man');
  // 11 ids; with a token for the beginning of a text there would be one more.
  const result = await measure(opt, '--text', text, '--window', '6');
  expect(result).toMatchObject({ tokens: 10, windows: 2 });
  expect((await measure(opt, '--text', HELDOUT_TEXT, '--limit', '1')).tokens).toBe(512);
});

test('takes a window that the model allows when none is given', async () => {
  const file = join(root, 'few.u16');
  writeFileSync(
    file,
    Uint16Array.from({ length: 100 }, (_, i) => i),
  );
  const result = await measure(goldenFolder('llama-gqa'), '--ids', file);
  expect(result.tokens).toBe(100);
});

test.each([
  ['odd.u16', Buffer.alloc(3), 2, /has 3 bytes: a file of 16-bit ids has a positive, even number/],
  ['empty.u16', Buffer.alloc(0), 2, /has 0 bytes/],
  ['one.u16', Buffer.alloc(2), 2, /the text has 1 ids/],
  ['large.u16', Buffer.from([1, 0, 255, 255]), 2, /65535/],
])('refuses %s', async (name, bytes, expected, message) => {
  const file = join(root, name);
  writeFileSync(file, bytes);
  const { code, stderr } = await fewbit(['perplexity', opt, '--ids', file]);
  expect(stderr).toMatch(message);
  expect(code).toBe(expected);
});

test('refuses a file that is not there', async () => {
  const { code, stderr } = await fewbit(['perplexity', opt, '--text', '/nowhere/a.txt']);
  expect(stderr).toMatch(/^fewbit: ERR_FEWBIT_CHECKPOINT: \/nowhere\/a.txt cannot be read/);
  expect(code).toBe(1);
});
