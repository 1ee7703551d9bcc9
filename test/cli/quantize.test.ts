import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { contextFactory } from '../../lib/cli/context';
import { buildProgram } from '../../lib/cli/program';
import { sampleFolder } from '../support/golden';
import { HELDOUT_IDS, HELDOUT_TEXT, SAMPLE_NAMES } from '../support/samples';
import { temporaryFolder } from '../support/temporary-folder';
import { fewbit, fewbitJson } from './fewbit';

const root = temporaryFolder();
type Bytes = Record<string, number>;

test.each(SAMPLE_NAMES)(
  '%s saved in LLM.int8() is what it was when quantized on load',
  async (name) => {
    const model = sampleFolder(name);
    const out = join(root, name);
    const report = await fewbitJson<{ before: Bytes; after: Bytes }>([
      'quantize',
      model,
      '--method',
      'llm.int8',
      '--out',
      out,
    ]);
    expect(report).toMatchObject({ out, method: 'llm.int8', threshold: 6, mode: 'paper' });
    expect(Object.keys(report.before)).toEqual(['f16']);
    // Half of the bytes of every weight that went to int8 are gone.
    expect(report.before.f16).toBeGreaterThanOrEqual(
      (report.after.f16 as number) + 2 * (report.after.i8 as number) - 1e5,
    );
    const measure = (folder: string, ...args: string[]) =>
      fewbitJson<{ perplexity: number; int8Share: number }>([
        ...['perplexity', folder, '--ids', HELDOUT_IDS, '--limit', '2'],
        ...args,
      ]);
    const onLoad = await measure(model, '--quantization', 'llm.int8');
    const saved = await measure(out);
    expect(saved.perplexity).toBeCloseTo(onLoad.perplexity, 3);
    expect(saved.int8Share).toBe(onLoad.int8Share);
    // On a checkpoint that is 8-bit already, the option sets threshold and mode.
    const other = await measure(out, '--quantization', 'llm.int8,threshold=0');
    expect(other.int8Share).toBe(1);
  },
);

test('takes settings, and splits large files', async () => {
  const out = join(root, 'settings');
  const { code, stdout, stderr } = await fewbit([
    ...['quantize', sampleFolder('sample-opt'), '--out', out, '--threshold', '4.5'],
    ...['--mode', 'bitsandbytes', '--skip-modules', 'fc1,out_proj', '--quantize-head'],
    ...['--max-shard-size', '2MB'],
  ]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(
    /^before {2}8.9 MB \(f16 8.9 MB\)\nafter {3}\d.\d MB \(.*i8 .*\)\nsaved {3}/,
  );
  expect(readdirSync(out)).toContain('model.safetensors.index.json');
  const { quantization_config: config } = JSON.parse(
    readFileSync(join(out, 'config.json'), 'utf8'),
  ) as { quantization_config: object };
  expect(config).toMatchObject({
    load_in_8bit: true,
    llm_int8_threshold: 4.5,
    llm_int8_skip_modules: ['fc1', 'out_proj'],
  });
});

test('takes the same as --quantization', async () => {
  const out = join(root, 'same');
  const report = await fewbitJson([
    ...['quantize', sampleFolder('sample-opt'), '--out', out],
    ...['--quantization', 'llm.int8,threshold=3,mode=bitsandbytes'],
  ]);
  expect(report).toMatchObject({ threshold: 3, mode: 'bitsandbytes' });
});

describe('rptq', () => {
  // Static grids hold for positions that were seen.
  const calibration = ['--dataset', HELDOUT_TEXT, '--samples', '4', '--seqlen', '512'];

  test.each([
    ['sample-llama', 'W4A8', 28],
    ['sample-opt', 'W16A16-KV4', 0],
  ] as const)(
    '%s to %s: quantized, saved, loaded, near the original',
    async (name, config, count) => {
      const [model, out] = [sampleFolder(name), join(root, `${name}-rptq`)];
      const args = ['quantize', model, '--method', 'rptq', '--config', config, '--out', out];
      const settings = [
        ...['--clusters', '16', '--cluster-sizes', 'kmeans', '--group-size', '64'],
        ...['--no-equalize', '--no-rotate', '--no-key-feedback'],
      ];
      const report = await fewbitJson<{ layers: object[]; after: Bytes }>([
        ...args,
        ...calibration,
        ...settings,
      ]);
      expect(report).toMatchObject({
        out,
        method: 'rptq',
        calibration: { windows: 4, seqlen: 512 },
        config: {
          ...{ config, clusters: 16, headClusters: 4, clusterSizes: 'kmeans', groupSize: 64 },
          ...{ equalize: false, rotate: false, keyFeedback: false },
        },
      });
      expect(report.layers).toHaveLength(count);
      const measure = async (folder: string) =>
        (
          await fewbitJson<{ perplexity: number }>([
            ...['perplexity', folder, '--ids', HELDOUT_IDS, '--limit', '2'],
          ])
        ).perplexity;
      const loss = (await measure(out)) / (await measure(model)) - 1;
      expect(loss).toBeLessThan(0.2);
      expect(Math.abs(loss)).toBeGreaterThan(1e-4);
    },
  );

  test.each<[string[], RegExp]>([
    [['--config', 'W4A8'], /rptq needs text to calibrate with: --dataset FILE/],
    [['--config', 'W5'], /--config.*Allowed choices are W4A16/],
    [[...calibration, '--bits', '4'], /--bits is an option of gptq, not of rptq/],
    [[...calibration, '--rtn'], /--rtn is an option of gptq, not of rptq/],
    [[...calibration, '--group-size', '48'], /multiple of 32/],
    [[...calibration, '--threshold', '3'], /--threshold is an option of other methods/],
  ])('%j is refused', async (args, message) => {
    const { code, stderr } = await fewbit([
      ...['quantize', sampleFolder('sample-opt'), '--method', 'rptq', '--out', join(root, 'no')],
      ...args,
    ]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });
});

describe('gptq', () => {
  const calibration = ['--dataset', HELDOUT_TEXT, '--samples', '8', '--seqlen', '128'];

  interface Report {
    layers: { name: string; bits: number; groupSize: number; error: number; damp: number }[];
    notices: string[];
    calibration?: object;
    config: object;
    before: Bytes;
    after: Bytes;
  }

  test.each(SAMPLE_NAMES)('%s: quantized, saved, loaded, near the original', async (name) => {
    const model = sampleFolder(name);
    const out = join(root, `${name}-gptq`);
    const head = ['quantize', model, '--method', 'gptq', '--out', out, ...calibration];
    const settings = [
      '--bits',
      '4',
      '--group-size',
      '64',
      '--asym',
      '--desc-act',
      '--damp',
      '0.02',
    ];
    const dynamic = JSON.stringify({
      '-:.*layers\\.0\\..*v_proj': {},
      '.*\\.layers\\.3\\.': { bits: 8 },
    });
    const args = [...head, ...settings, '--dynamic', dynamic, '--mse', '--seed', '3'];
    const report = await fewbitJson<Report>(args);
    expect(report).toMatchObject({
      out,
      method: 'gptq',
      notices: [],
      calibration: { dataset: HELDOUT_TEXT, windows: 8, seqlen: 128, tokens: 1024 },
      config: { bits: 4, groupSize: 64, sym: false, descAct: true, damp: 0.02, mse: 2.4 },
    });
    const { layers } = report;
    expect(layers).toHaveLength(name === 'sample-llama' ? 27 : 23);
    for (const { name: layer, bits, error, damp } of layers) {
      expect(layer).not.toMatch(/layers\.0\..*v_proj/);
      expect([bits, damp]).toEqual([layer.includes('.layers.3.') ? 8 : 4, expect.closeTo(0.02)]);
      expect(error).toBeGreaterThan(0);
    }
    expect(report.after.i32).toBeGreaterThan(0);
    const measure = async (folder: string) =>
      (
        await fewbitJson<{ perplexity: number }>([
          ...['perplexity', folder, '--ids', HELDOUT_IDS, '--limit', '2'],
        ])
      ).perplexity;
    expect((await measure(out)) / (await measure(model))).toBeLessThan(1.1);
    // The same command again finds it done; another one does not touch it.
    const again = await fewbitJson<Report>(args);
    expect(again.notices.join()).toMatch(/nothing is left to do/);
    expect(again.layers).toEqual(layers);
    const { code, stderr } = await fewbit([...head, '--bits', '3']);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/bits 4 instead of 3.*--restart/)]);
  });

  test('says on stderr what it does, and what it is short of', async () => {
    const out = join(root, 'log');
    const { code, stdout, stderr } = await fewbit([
      ...['quantize', sampleFolder('sample-opt'), '--method', 'gptq', '--out', out],
      ...['--dataset', join(__dirname, 'quantize.test.ts'), '--samples', '64', '--seqlen', '256'],
      ...['--group-size', '-1', '--no-true-sequential', '--no-act-group-aware', '--lm-head'],
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/\nlayers {2}25 quantized on [\d,]+ tokens of .*quantize\.test\.ts, \d/);
    const lines = stderr.trim().split('\n');
    expect(lines[0]).toMatch(
      /^note: .*gives only \d+ tokens in \d+ windows, fewer than the 64 x 256/,
    );
    expect(lines).toHaveLength(26);
    expect(lines[1]).toMatch(
      /^1 of 25 {2}model\.decoder\.layers\.0\.self_attn\.q_proj {2}error \S+ {2}damp 0\.010 {2}[\d.]+ s {2}.+ left$/,
    );
    expect(lines[25]).toMatch(/^25 of 25 {2}lm_head .* 0 s left$/);
    const log = JSON.parse(readFileSync(join(out, 'quantize_log.json'), 'utf8'));
    expect(log.layers).toHaveLength(25);
  });

  test('rounds to nearest without calibration, quietly', async () => {
    const out = join(root, 'rtn');
    const args = ['quantize', sampleFolder('sample-opt'), '--method', 'gptq', '--out', out];
    const { code, stderr, stdout } = await fewbit([...args, '--rtn', '--bits', '8', '--quiet']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/layers {2}24 quantized without calibration, 24 of them rounded/);
  });

  const model = sampleFolder('sample-opt');
  const gptq = ['--method', 'gptq', '--out', join(root, 'wrong')];
  /** In this process, which is quicker. */
  const run = (args: string[]) =>
    buildProgram(contextFactory(new AbortController().signal)).parseAsync(
      ['quantize', ...args, '--device', 'cpu'],
      { from: 'user' },
    );

  test.each<[string[], RegExp]>([
    [[...gptq], /gptq needs text to calibrate with: --dataset FILE/],
    [[...gptq, '--bits', '5'], /--bits.*It must be 2, 3, 4 or 8/],
    [[...gptq, '--group-size', '0'], /--group-size.*above 0, or -1/],
    [[...gptq, '--damp', '2'], /--damp.*0 to 1/],
    [[...gptq, '--dynamic', '{'], /--dynamic.*It must be JSON/],
    [[...gptq, ...calibration, '--dynamic', '{"(": {}}'], /no regular expression/],
    [[...gptq, '--sym', '--asym'], /cannot be used with option '--asym'/],
    [[...gptq, ...calibration, '--rtn'], /--rtn needs no calibration/],
    [[...gptq, ...calibration, '--desc-act', '--act-group-aware'], /actGroupAware excludes/],
    [[...gptq, ...calibration, '--threshold', '3'], /--threshold is an option of other methods/],
    [
      ['--group-size', '32', '--out', 'x'],
      /--group-size is an option of gptq and rptq, not of llm.int8/,
    ],
    [[...gptq, '--dataset', 'none.txt'], /'none.txt' is neither a file nor one of wikitext2/],
    [[...gptq, '--dataset', HELDOUT_TEXT, '--seqlen', '4096'], /4096 ids .* 1024 positions/],
    [[...gptq, '--dataset', root], /cannot be read/],
  ])('%j is refused', async (args, message) => {
    await expect(run([model, ...args])).rejects.toThrow(message);
  });

  test('a model that is quantized already is refused', async () => {
    const done = join(sampleFolder('golden'), 'gptq-8bit-g32-sym-v1');
    await expect(run([done, ...gptq, '--rtn'])).rejects.toThrow(/quantized already, by gptq/);
  });
});
