import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { PythonRandom } from '../../lib/calibration/python-random';
import { AutoTokenizer, type Tokenizer } from '../../lib/checkpoint/tokenizer';
import { COMMIT, HubServer } from '../checkpoint/support/hub-server';
import { scriptOutput } from '../support/child';
import { sampleFolder } from '../support/golden';
import { temporaryFolder } from '../support/temporary-folder';

interface Outcome {
  windows: number[][];
  tokens: number;
  code?: string;
  message?: string;
}

const folder = temporaryFolder();
const script = join(__dirname, 'scripts', 'windows.ts');
/** 120 rows: columns text (paragraphs, every other row empty), sentence and id. */
const PARQUET = join(__dirname, '../fixtures/datasets/rows.parquet');
const heldout = readFileSync(join(sampleFolder('text'), 'heldout.txt'), 'utf8');
let tokenizer: Tokenizer;
let hub: HubServer;

beforeAll(async () => {
  tokenizer = await AutoTokenizer.fromPretrained(sampleFolder('sample-llama'));
});
afterEach(() => hub.stop());

async function serve(name: string, files: Record<string, Buffer>, revision = 'main') {
  hub = new HubServer(name);
  hub.revisions.push(revision);
  for (const [path, content] of Object.entries(files)) hub.files.set(path, content);
  await hub.start();
}

function draw(args: (string | number)[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const settings = { HF_ENDPOINT: hub.endpoint, HF_HOME: folder, HF_TOKEN: '', ...env };
  return scriptOutput(script, args.map(String), { env: settings });
}

/** The windows that the paper's code draws from one long text. */
function expectedWindows(text: string, samples: number, seqlen: number): number[][] {
  const ids = tokenizer.encode(text);
  const random = new PythonRandom(0);
  return Array.from({ length: samples }, () => {
    const begin = random.integer(0, ids.length - seqlen - 1);
    return ids.slice(begin, begin + seqlen);
  });
}

const paragraphs = heldout
  .split(/\n\s*\n/)
  .map((text) => text.trim())
  .filter(({ length }) => length > 40);

test('wikitext2: rows of a parquet file, joined; from the cache the second time', async () => {
  const path = 'wikitext-2-raw-v1/train-00000-of-00001.parquet';
  await serve('Salesforce/wikitext', { [path]: readFileSync(PARQUET) });
  const rows = paragraphs.slice(0, 60).flatMap((text) => [text, '']);
  const { windows, tokens } = await draw(['wikitext2', 8, 64]);
  expect(windows).toEqual(expectedWindows(rows.join('\n\n'), 8, 64));
  expect(tokens).toBe(512);
  const snapshot = join(folder, 'hub/datasets--Salesforce--wikitext/snapshots', COMMIT, path);
  expect(existsSync(snapshot)).toBe(true);
  const requests = hub.log.length;
  expect(requests).toBeGreaterThan(0);
  expect((await draw(['wikitext2', 8, 64], { HF_HUB_OFFLINE: '1' })).windows).toEqual(windows);
  expect(hub.log).toHaveLength(requests);
});

test('ptb: the column of sentences, from the converted branch', async () => {
  const path = 'penn_treebank/train/0000.parquet';
  const files = { [path]: readFileSync(PARQUET) };
  await serve('ptb-text-only/ptb_text_only', files, 'refs/convert/parquet');
  const rows = paragraphs.slice(0, 60).flatMap((text) => [text.split('. ')[0] as string, 'no']);
  const { windows } = await draw(['ptb', 4, 128]);
  expect(windows).toEqual(expectedWindows(rows.join('\n\n'), 4, 128));
});

test('c4: random documents that are long enough', async () => {
  const documents = Array.from({ length: 40 }, (_, i) =>
    paragraphs.slice(i, i + 1 + (i % 5)).join('\n'),
  );
  const lines = documents.map((text) => JSON.stringify({ text, timestamp: '', url: '' }));
  const file = gzipSync(`${lines.join('\n')}\n`);
  await serve('allenai/c4', { 'en/c4-train.00000-of-01024.json.gz': file });
  const { windows } = await draw(['c4', 10, 200]);
  const random = new PythonRandom(0);
  const expected: number[][] = [];
  while (expected.length < 10) {
    const ids = tokenizer.encode(documents[random.integer(0, 39)] as string);
    if (ids.length <= 200) continue;
    const begin = random.integer(0, ids.length - 200 - 1);
    expected.push(ids.slice(begin, begin + 200));
  }
  expect(windows).toEqual(expected);
  expect((await draw(['c4', 10, 2000])).message).toMatch(/no document .* more than 2000 tokens/);
});

test('what cannot be had is explained', async () => {
  await serve('allenai/c4', {});
  expect(await draw(['c4', 1, 10], { HF_HOME: join(folder, 'empty') })).toEqual({
    code: 'ERR_FEWBIT_HUB',
    message: expect.stringMatching(/allenai\/c4 holds no file en\/c4-train.*datasets\/allenai\/c4/),
  });
  expect((await draw(['ptb', 1, 10], { HF_HOME: join(folder, 'empty') })).message).toMatch(
    /ptb_text_only: there is no such public dataset/,
  );
  const offline = { HF_HUB_OFFLINE: '1', HF_HOME: join(folder, 'empty') };
  expect((await draw(['c4', 1, 10], offline)).message).toMatch(/downloads are off.*local file/);
});

test('a parquet file without such a column, and one that is none', async () => {
  const path = 'wikitext-2-raw-v1/train-00000-of-00001.parquet';
  await serve('Salesforce/wikitext', { [path]: Buffer.from('PAR1 no parquet PAR1') });
  const { message } = await draw(['wikitext2', 1, 10], { HF_HOME: join(folder, 'other') });
  expect(message).toMatch(/cannot be read as parquet/);
  expect((await draw([PARQUET, 2, 64])).windows).toHaveLength(2);
});
