import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM } from '../../lib';
import { channelReport } from '../../lib/eval/channel-report';
import { analyzeChannels, type PointChannels } from '../../lib/eval/channels';
import { fewbit } from '../cli/fewbit';
import { sampleFolder } from '../support/golden';
import { HELDOUT_IDS, heldoutIds, SAMPLE_NAMES } from '../support/samples';
import { temporaryFolder } from '../support/temporary-folder';

const root = temporaryFolder();
const OPTIONS = { window: 64, limit: 2 };

async function analyzed(name: string): Promise<PointChannels[]> {
  await using model = await AutoModelForCausalLM.fromPretrained(sampleFolder(name), {
    device: 'cpu',
    maxContext: 64,
  });
  return await analyzeChannels(model, heldoutIds(), OPTIONS);
}

test.each(SAMPLE_NAMES)('every channel of %s is in a cluster that spans it', async (name) => {
  const points = await analyzed(name);
  expect(points).toHaveLength(4 * 6);
  const keys = name === 'sample-llama' ? 128 : 256;
  expect(points.slice(0, 6).map(({ point, min }) => [point, min.length])).toEqual([
    ['attention', 256],
    ['query', 256],
    ['key', keys],
    ['value', keys],
    ['inner', 256],
    ['down', name === 'sample-llama' ? 768 : 1024],
  ]);
  for (const { min, max, cluster, clusters } of points) {
    for (const [c, own] of clusters.entries()) {
      const members = [...cluster.keys()].filter((channel) => cluster[channel] === c);
      expect(members).toHaveLength(own.channels);
      expect(own.min).toBe(Math.min(...members.map((channel) => min[channel] as number)));
      expect(own.max).toBe(Math.max(...members.map((channel) => max[channel] as number)));
    }
    expect(clusters.reduce((sum, { channels }) => sum + channels, 0)).toBe(min.length);
  }
  // Clusters of queries, keys and values stay within their heads.
  for (const { cluster } of points.filter(({ point }) => point === 'key')) {
    const headsOf = new Map<number, Set<number>>();
    for (const [channel, c] of cluster.entries()) {
      headsOf.set(c, (headsOf.get(c) ?? new Set()).add(Math.floor(channel / 64)));
    }
    for (const heads of headsOf.values()) expect(heads.size).toBe(1);
  }
});

test('extremes are those of the activations', async () => {
  await using model = await AutoModelForCausalLM.fromPretrained(sampleFolder('sample-opt'), {
    device: 'cpu',
    maxContext: 64,
  });
  const { context } = model.transformer;
  const seen: number[] = [];
  context.onLinearInput = (names, x) => {
    if (!/layers\.2\.fc2$/.test(names[0] as string)) return;
    const values = x.readFloats();
    for (let at = 5; at < values.length; at += x.shape[1] as number)
      seen.push(values[at] as number);
  };
  const points = await analyzeChannels(model, heldoutIds(), OPTIONS);
  const down = points.find(({ layer, point }) => layer === 2 && point === 'down');
  expect(seen).toHaveLength(128);
  expect([down?.min[5], down?.max[5]]).toEqual([Math.min(...seen), Math.max(...seen)]);
});

test('the page has a mark for each channel and needs nothing else', async () => {
  const points = (await analyzed('sample-opt')).slice(0, 6);
  const page = await channelReport('a <b> model', points, { tokens: 128 });
  const figures = page.split('<figure').slice(1);
  expect(figures).toHaveLength(6);
  for (const [i, { min, clusters }] of points.entries()) {
    const marks = (kind: string) => figures[i]?.match(new RegExp(`aria-label="${kind} `, 'g'));
    expect(marks('channel')).toHaveLength(min.length);
    expect(marks('cluster')).toHaveLength(clusters.length);
  }
  expect(page).toContain('Channels of a &lt;b&gt; model');
  expect(page.replaceAll(/xmlns(:\w+)?="[^"]*"/g, '')).not.toMatch(/(src|href)=|url\(|<script/);
});

describe('inspect --channels', () => {
  const model = sampleFolder('sample-llama');
  const args = ['inspect', model, '--channels', '--ids', HELDOUT_IDS, '--window', '64'];

  test('writes the page whole', async () => {
    const out = join(root, 'report.html');
    const { code, stdout } = await fewbit([...args, '--limit', '1', '--out', out]);
    expect(code).toBe(0);
    expect(stdout).toContain(`${out}: 24 charts of 64 tokens`);
    expect(readFileSync(out, 'utf8').match(/<figure/g)).toHaveLength(24);
    expect(readdirSync(root)).toEqual(['report.html']);
  });

  test.each([
    [args, '--channels needs --out'],
    [['inspect', model, '--out', 'a.html'], '--out needs --channels'],
    [['inspect', 'opt-125m', '--channels', '--out', 'a.html'], '--channels needs a trained model'],
    [[...args, '--memory', '--out', 'a.html'], 'two reports'],
    [['inspect', model, '--batch', '1,2'], '--batch is a list'],
  ])('%j is refused', async (wrong, message) => {
    const { code, stderr } = await fewbit(wrong);
    expect(code).not.toBe(0);
    expect(stderr).toContain(message);
  });

  test('a place that cannot be written is named, and nothing is left', async () => {
    writeFileSync(join(root, 'file'), '');
    const out = join(root, 'file', 'report.html');
    const { code, stderr } = await fewbit([...args, '--limit', '1', '--out', out]);
    expect(code).not.toBe(0);
    expect(stderr).toContain('report.html');
    expect(existsSync(out)).toBe(false);
  });
});
