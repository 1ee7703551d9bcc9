import { join } from 'node:path';
import { runScript, scriptOutput } from '../support/child';

const script = (name: string) => join(__dirname, 'scripts', `${name}.ts`);

test('workers and the main thread side by side', async () => {
  const result = await scriptOutput<{
    own: number[];
    theirs: number[][];
    left: number[];
    after: number[];
    codes: number[];
    leftCode: number;
    terminated: number;
  }>(script('workers'));
  expect(result.own).toHaveLength(60);
  for (const tokens of [...result.theirs, result.left, result.after]) {
    expect(tokens).toEqual(result.own);
  }
  expect(result.theirs).toHaveLength(4);
  expect(result.codes).toEqual([0, 0, 0, 0]);
  expect(result.leftCode).toBe(0);
  expect(result.terminated).toBe(1);
});

describe('a process that ends', () => {
  test.each([
    ['idle', 0],
    ['exit', 0],
    ['forgotten', 0],
    ['disposed', 0],
    ['throw', 1],
  ])('%s: status %d, by no signal', async (way, status) => {
    const result = await runScript(script('exit'), [way]);
    expect(result).toMatchObject({ status, signal: null });
    expect(result.stderr).not.toMatch(/abort|core dumped|terminate called/i);
    if (way === 'disposed') expect(result.stdout).toBe('ERR_FEWBIT_DISPOSED\n');
    if (way === 'throw') expect(result.stderr).toMatch('thrown while generating');
  });
});

test('FEWBIT_DEVICE=cpu loads no CUDA library at all', async () => {
  const result = await scriptOutput<{
    cuda: { devices: unknown[]; reason?: string; library?: string };
    type: string;
    cudaLibraries: string[];
    sawAddon: boolean;
  }>(script('no-cuda'), [], { env: { FEWBIT_DEVICE: 'cpu' } });
  expect(result.cuda.devices).toEqual([]);
  expect(result.cuda.reason).toMatch(/FEWBIT_DEVICE/);
  expect(result.cuda.library).toBeUndefined();
  expect(result.type).toBe('cpu');
  expect(result.cudaLibraries).toEqual([]);
  expect(result.sawAddon).toBe(true);
});

test('1000 times load and dispose keep memory, files and threads flat', async () => {
  interface Measure {
    rss: number;
    files: number;
    threads: number;
  }
  const { before, after } = await scriptOutput<{ before: Measure; after: Measure }>(
    script('cycles'),
    ['600', '1000'],
    { nodeArgs: ['--expose-gc'], env: { FEWBIT_DEVICE: 'cpu' } },
  );
  expect(after.files).toBe(before.files);
  expect(after.threads).toBe(before.threads);
  // V8 has its final heap size after some 500 cycles. A model has 0.5 MB of weights.
  expect(after.rss - before.rss).toBeLessThan(8 * 2 ** 20);
}, 300_000);

test('the event loop is free while the CPU generates', async () => {
  // Timers are late on a busy machine too, so one good run of three is enough.
  const runs: { p99: number; samples: number; milliseconds: number }[] = [];
  do {
    runs.push(await scriptOutput(script('lag'), [], { env: { FEWBIT_DEVICE: 'cpu' } }));
  } while (runs.length < 3 && !((runs.at(-1)?.p99 as number) < 20));
  expect(Math.min(...runs.map(({ p99 }) => p99))).toBeLessThan(20);
  const { samples } = runs.at(-1) as { samples: number };
  expect(samples).toBeGreaterThan(10);
}, 180_000);
