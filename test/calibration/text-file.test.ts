import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { calibrationWindows } from '../../lib/calibration';
import { readTexts } from '../../lib/calibration/text-file';
import { temporaryFolder } from '../support/temporary-folder';

const folder = temporaryFolder();
const write = (name: string, content: string | Buffer) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const rows = [{ text: 'one\ntwo' }, { text: 'drei ä' }, 'plain'];
const texts = ['one\ntwo', 'drei ä', 'plain'];
const lines = rows.map((row) => JSON.stringify(row)).join('\n');

test.each<[string, string | Buffer, string[]]>([
  ['a.txt', 'all of\n\nit', ['all of\n\nit']],
  ['a.md', 'any other name', ['any other name']],
  ['a.txt.gz', gzipSync('packed'), ['packed']],
  ['a.jsonl', lines, texts],
  ['b.jsonl', `\n${lines}\n\n`, texts],
  ['a.jsonl.gz', gzipSync(lines), texts],
  ['a.ndjson', lines, texts],
  ['a.json', JSON.stringify(rows), texts],
  ['a.json.gz', gzipSync(JSON.stringify(rows)), texts],
])('%s', async (name, content, expected) => {
  expect(await readTexts(write(name, content), 'text')).toEqual(expected);
});

test('lines longer than what is read at once', async () => {
  const long = Array.from({ length: 5 }, (_, i) => String(i).repeat(100_000 + i));
  const path = write('long.jsonl', long.map((text) => JSON.stringify({ text })).join('\n'));
  expect((await readTexts(path, 'text')).map(({ length }) => length)).toEqual(
    long.map(({ length }) => length),
  );
});

test.each<[string, string | Buffer, RegExp]>([
  ['c.jsonl', '{"title": "a", "body": "b"}', /no text under 'text', only title, body/],
  ['d.jsonl', '{"text": 3}', /no text under 'text'/],
  ['e.jsonl', '{"text": "a"', /cannot be read: .*JSON/],
  ['c.json', '{"text": "a"}', /does not hold a JSON array/],
  ['d.json', '[1]', /no text under 'text', number/],
  ['c.txt', Buffer.from([0xff, 0xfe, 0x00]), /not UTF-8/],
  ['c.jsonl.gz', 'not packed', /cannot be read: incorrect header/],
])('%s is refused', async (name, content, message) => {
  await expect(readTexts(write(name, content), 'text')).rejects.toThrow(message);
});

describe('windows of a file', () => {
  const tokenizer = { encode: (text: string) => [...text].map((c) => c.charCodeAt(0)) };
  const windowsOf = (path: string, samples: number, seed = 0) =>
    calibrationWindows(path, async () => tokenizer, { samples, seqlen: 10, seed });

  test('rows make one text', async () => {
    const { windows, tokens } = await windowsOf(write('w.jsonl', lines), 5);
    expect(String.fromCharCode(...windows.flat())).toBe(texts.join('\n\n'));
    expect(tokens).toBe(texts.join('\n\n').length);
  });

  test('the seed decides the places', async () => {
    const path = write('w.txt', Array.from({ length: 300 }, (_, i) => `${i} `).join(''));
    const [a, b, c] = [
      await windowsOf(path, 8),
      await windowsOf(path, 8),
      await windowsOf(path, 8, 1),
    ];
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
    expect(a.windows).toHaveLength(8);
  });

  test('of a very long text, random pieces are used', async () => {
    const long = 'abcdefghij'.repeat(3.3e6);
    const seen: number[] = [];
    const counting = {
      encode: (text: string) => {
        seen.push(text.length);
        return tokenizer.encode(text);
      },
    };
    const path = write('very-long.txt', long);
    const options = { samples: 50, seqlen: 10, seed: 3 };
    const { windows } = await calibrationWindows(path, async () => counting, options);
    expect(windows).toHaveLength(50);
    expect(seen).toEqual([50 * 80 + 49 * 2]);
  });

  test('neither a file nor a name', async () => {
    await expect(windowsOf(join(folder, 'none'), 1)).rejects.toThrow(/neither a file nor one of/);
    await expect(windowsOf('toString', 1)).rejects.toThrow(/neither a file nor one of/);
    await expect(windowsOf(folder, 1)).rejects.toThrow(/cannot be read/);
  });
});
