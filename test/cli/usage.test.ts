import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sampleFolder } from '../support/golden';
import { HELDOUT_IDS } from '../support/samples';
import { fewbit } from './fewbit';

const opt = sampleFolder('sample-opt');
const commands = ['generate', 'perplexity', 'quantize', 'inspect', 'doctor', 'demo'];

test('--version is that of the package', async () => {
  const { version } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8'));
  expect(await fewbit(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
});

test('--help names every command and the exit codes', async () => {
  const { code, stdout } = await fewbit(['--help']);
  expect(code).toBe(0);
  for (const command of commands) expect(stdout).toContain(`  ${command} `);
  expect(stdout).toMatch(/Exit codes: 0 done, 1 error, 2 wrong arguments, 130 interrupted/);
});

test.each(commands)('%s --help shows an example and the common options', async (command) => {
  const { code, stdout } = await fewbit([command, '--help']);
  expect(code).toBe(0);
  expect(stdout).toMatch(
    new RegExp(`Examples?:\\n {2}\\$ .*fewbit ${command}|\\$ fewbit ${command}`),
  );
  expect(stdout).toContain('--json');
  expect(stdout).toContain('--device');
});

describe('wrong arguments end with code 2 and one line', () => {
  test.each<[string, string[], RegExp]>([
    ['no model', ['perplexity'], /missing required argument 'model'/],
    ['an unknown command', ['fly'], /unknown command 'fly'/],
    ['an unknown option', ['doctor', '--loud'], /unknown option '--loud'/],
    ['no text', ['perplexity', opt], /name a file with --text or --ids/],
    ['two texts', ['perplexity', opt, '--text', 'a', '--ids', 'b'], /cannot be used with/],
    ['no prompt', ['generate', opt], /give a prompt/],
    ['a wrong number', ['generate', opt, '--top-p', '1.5'], /top-p.*It must be a number, 0 to 1/],
    ['a wrong count', ['generate', opt, '--max-new-tokens', '2.5'], /It must be a whole number/],
    ['a wrong device', ['inspect', opt, '--device', 'tpu'], /auto, cpu, cuda or cuda:N/],
    ['a wrong method', ['inspect', opt, '--quantization', 'llm.int9'], /'llm.int9'; available/],
    ['a wrong setting', ['inspect', opt, '--quantization', 'llm.int8,x=1'], /Unrecognized key/],
    [
      '--system without --chat',
      ['generate', opt, '--prompt', 'a', '--system', 'b'],
      /needs --chat/,
    ],
    ['no chat template', ['generate', opt, '--prompt', 'a', '--chat'], /no default chat template/],
    ['no --out', ['quantize', opt], /required option '--out <folder>'/],
    ['the model as --out', ['quantize', opt, '--out', opt], /folder of the model itself/],
    [
      'a method twice',
      ['quantize', opt, '--out', '/tmp/x', '--quantization', 'llm.int8', '--threshold', '3'],
      /put threshold into it/,
    ],
    ['a stray option', ['inspect', opt, '--ids', HELDOUT_IDS], /--ids needs --outliers/],
    ['outliers of a preset', ['inspect', 'opt-125m', '--outliers', '--text', 'a'], /is a preset/],
    ['too long a context', ['inspect', opt, '--context', '2000'], /the model goes up to 1024/],
    [
      'too long a window',
      ['perplexity', opt, '--ids', HELDOUT_IDS, '--window', '2000'],
      /window is 2000, but the context is limited to 1024/,
    ],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await fewbit(args);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^fewbit: ERR_FEWBIT_(USAGE|OPTIONS): [^\n]+\n$/);
    expect([code, stdout]).toEqual([2, '']);
  });
});

describe('other errors end with code 1', () => {
  test.each<[string, string[], string, RegExp]>([
    ['no such model', ['/nowhere/x'], 'ERR_FEWBIT_CHECKPOINT', /there is no such folder/],
    ['no such device', [opt, '--device', 'cuda'], 'ERR_FEWBIT_DEVICE', /CUDA cannot be used/],
    [
      'a model that is not in the cache',
      ['someone/something', '--offline', '--cache-dir', '/nowhere'],
      'ERR_FEWBIT_HUB',
      /downloads are off/,
    ],
  ])('%s', async (_, args, code, message) => {
    const human = await fewbit(['perplexity', ...args, '--ids', HELDOUT_IDS]);
    expect(human.stderr.startsWith(`fewbit: ${code}: `)).toBe(true);
    expect([human.code, human.stdout]).toEqual([1, '']);
    const json = await fewbit(['perplexity', ...args, '--ids', HELDOUT_IDS, '--json']);
    expect([json.code, json.stderr]).toEqual([1, '']);
    expect(JSON.parse(json.stdout)).toEqual({
      error: { code, message: expect.stringMatching(message) },
    });
  });
});

test('--json reports wrong arguments as JSON, too', async () => {
  const { code, stdout, stderr } = await fewbit(['generate', '--json']);
  expect([code, stderr]).toEqual([2, '']);
  expect(JSON.parse(stdout).error.code).toBe('ERR_FEWBIT_USAGE');
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s ends a generation with code %i', async (signal, expected) => {
  const args = ['generate', opt, '--prompt', 'It was', '--max-new-tokens', '1000', '--ignore-eos'];
  const { code, stderr } = await fewbit(args, { signal });
  expect(code).toBe(expected);
  expect(stderr).toBe(`fewbit: ERR_FEWBIT_INTERRUPTED: interrupted by ${signal}\n`);
});
