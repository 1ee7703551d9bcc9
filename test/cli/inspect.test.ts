import { join } from 'node:path';
import type { OutlierReport } from '../../lib';
import { writeOutlierVariant } from '../../lib';
import { goldenFolder, sampleFolder } from '../support/golden';
import { HELDOUT_IDS, HELDOUT_TEXT } from '../support/samples';
import { temporaryFolder } from '../support/temporary-folder';
import { fewbit, fewbitJson } from './fewbit';

const opt = sampleFolder('sample-opt');

interface Summary {
  architecture: string;
  parameters: number;
  stored?: Record<string, number>;
  modules: { name: string; method: string; count: number; parameters: number; bytes: number }[];
  memory: Record<'weights' | 'kvCache' | 'activations' | 'total' | 'batch' | 'context', number>;
}

const inspect = (...args: string[]) => fewbitJson<Summary>(['inspect', ...args]);

describe('inspect', () => {
  test('says what a checkpoint is and needs', async () => {
    const summary = await inspect(opt, '--batch', '4', '--context', '1000');
    expect(summary).toMatchObject({ architecture: 'opt', parameters: 4470784 });
    expect(summary.stored).toEqual({ f16: 2 * 4470784 });
    // 4 sequences of 16 pages of 64 tokens; keys and values of 4 layers of 256 floats.
    expect(summary.memory).toMatchObject({
      batch: 4,
      context: 1000,
      weights: 2 * 4470784,
      kvCache: 4 * 16 * 64 * 2 * 4 * 256 * 4,
    });
    const sum = summary.modules.reduce((total, { parameters }) => total + parameters, 0);
    expect(sum).toBe(summary.parameters);
    expect(summary.modules.find(({ name }) => name.endsWith('*.fc1'))).toMatchObject({
      method: 'f16',
      count: 4,
      parameters: 4 * (256 * 1024 + 1024),
    });
  });

  test('says the method per layer', async () => {
    const quantization = 'llm.int8,skipModules=fc2';
    const { modules } = await inspect(opt, '--layers', '--quantization', quantization);
    const methodOf = (ending: string) =>
      modules.filter(({ name }) => name.endsWith(ending)).map(({ method }) => method);
    expect(methodOf('.fc1')).toEqual(['llm.int8', 'llm.int8', 'llm.int8', 'llm.int8']);
    expect(methodOf('.fc2')).toEqual(['f16', 'f16', 'f16', 'f16']);
    expect(methodOf('lm_head')).toEqual(['tied']);
    const stored = await inspect(goldenFolder('llm-int8-hf'));
    expect(stored.modules.map(({ method }) => method)).toContain('llm.int8');
    expect(stored.stored?.i8).toBeGreaterThan(0);
  });

  test('knows shapes without a checkpoint', async () => {
    const plain = await inspect('llama-2-7b', '--batch', '1');
    expect(plain.parameters).toBe(6738415616);
    expect(plain.memory.weights).toBeGreaterThan(13.4e9);
    const int8 = await inspect('llama-2-7b', '--batch', '1', '--quantization', 'llm.int8');
    expect(int8.memory.weights).toBeLessThan(7.1e9);
    expect(int8.stored).toBeUndefined();
  });

  test('prints the same for people', async () => {
    const { code, stdout, stderr } = await fewbit(['inspect', opt, '--quantization', 'llm.int8']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('opt, 4,470,784 parameters');
    expect(stdout).toContain('on disk: 8.9 MB (f16 8.9 MB)');
    expect(stdout).toMatch(/self_attn.q_proj \+ k_proj \+ v_proj +x 4 +llm.int8 +789,504 +805 kB/);
    expect(stdout).toMatch(/total +[\d.]+ MB +fits in the/);
  });
});

describe('inspect --outliers', () => {
  const root = temporaryFolder();
  const args = ['--outliers', '--ids', HELDOUT_IDS, '--limit', '1', '--draws', '1'];
  type Report = OutlierReport & { window: number };

  test('finds planted features', async () => {
    const variant = join(root, 'variant');
    const planted = [3, 150];
    await writeOutlierVariant(opt, variant, { features: planted });
    const before = await fewbitJson<Report>(['inspect', opt, ...args]);
    const after = await fewbitJson<Report>(['inspect', variant, ...args]);
    const names = ({ features }: Report) => features.map(({ feature }) => feature);
    expect(after).toMatchObject({ threshold: 6, tokens: 512, window: 512, numLayers: 4 });
    expect(
      names(after)
        .filter((name) => !names(before).includes(name))
        .sort(),
    ).toEqual([150, 3]);
    expect(after.perplexity.zeroed).toBeGreaterThan(after.perplexity.baseline);
  });

  test('prints tables, and takes a text and a threshold', async () => {
    const { code, stdout, stderr } = await fewbit([
      ...['inspect', opt, '--outliers', '--text', HELDOUT_TEXT],
      ...['--limit', '1', '--draws', '1', '--threshold', '7'],
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('|value| >= 7 in >= 25% of the layers and >= 6% of the hidden states');
    expect(stdout).toMatch(/feature +outlier +layers +states +sides +quartiles +extreme/);
    expect(stdout).toMatch(/layer +outlier features +any features +positions +extreme\n {2}0 /);
    expect(stdout).toMatch(/perplexity\n {2}as it is +\d+\.\d\d/);
  });
});
