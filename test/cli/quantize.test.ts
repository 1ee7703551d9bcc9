import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sampleFolder } from '../support/golden';
import { HELDOUT_IDS, SAMPLE_NAMES } from '../support/samples';
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
