import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fewbit, fewbitJson } from './fewbit';

const temporary = mkdtempSync(join(tmpdir(), 'fewbit-test-'));
afterAll(() => rmSync(temporary, { recursive: true, force: true }));
const env = { TMPDIR: temporary };

interface Row {
  weightBytes: number;
  perplexity: number;
  int8Share: number;
}
type Rows = Record<'bits16' | 'plainInt8' | 'llmInt8', Row>;
type Width = Row & { bitsPerWeight: number };

interface Demo {
  plain: Rows;
  outliers: Rows;
  widths: Record<string, Width>;
  variant: { features: number[] };
  text: string;
}

let demo: Demo;
beforeAll(async () => {
  demo = await fewbitJson<Demo>(['demo', '--limit', '8'], { env });
}, 300_000);

test('shows that LLM.int8() keeps what plain int8 loses', () => {
  const { plain, outliers, variant, text } = demo;
  const loss = ({ bits16 }: Rows, row: Row) => row.perplexity / bits16.perplexity - 1;
  expect(variant.features).toHaveLength(5);
  expect(outliers.bits16.perplexity).toBeCloseTo(plain.bits16.perplexity, 2);
  expect(loss(plain, plain.llmInt8)).toBeLessThan(0.005);
  expect(loss(outliers, outliers.llmInt8)).toBeLessThan(0.005);
  expect(loss(outliers, outliers.plainInt8)).toBeGreaterThan(0.4);
  expect(outliers.llmInt8.weightBytes).toBeLessThan(0.7 * outliers.bits16.weightBytes);
  expect(outliers.bits16.int8Share).toBe(0);
  expect(outliers.plainInt8.int8Share).toBe(1);
  expect(outliers.llmInt8.int8Share).toBeGreaterThan(0.98);
  expect(text.length).toBeGreaterThan(20);
  expect(readdirSync(temporary)).toEqual([]);
});

test('shows what ever fewer bits cost, and that ternary weights want training', () => {
  const { widths } = demo;
  const rows = ['bits16', 'llmInt8', 'gptq4', 'gptq2', 'ternarized'].map(
    (key) => widths[key] as Width,
  );
  expect(Object.keys(widths)).toHaveLength(6);
  const bits = rows.map(({ bitsPerWeight }) => bitsPerWeight);
  const loss = rows.map(({ perplexity }) => perplexity / (rows[0] as Width).perplexity - 1);
  expect(bits).toEqual([...bits].sort((a, b) => b - a));
  expect(loss.slice(1)).toEqual(loss.slice(1).sort((a, b) => a - b));
  expect(bits[0]).toBe(16);
  expect(loss[2]).toBeLessThan(0.08);
  expect(loss[4]).toBeGreaterThan(5);
  const { bitnet } = widths as { bitnet: Width };
  expect(bitnet.bitsPerWeight).toBeLessThan(2.2);
  expect(bitnet.perplexity).toBeLessThan(2 * (rows[0] as Width).perplexity);
});

test('prints two tables, then streams a continuation', async () => {
  const { code, stdout, stderr } = await fewbit(['demo', '--limit', '1'], { env });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const rows = stdout.match(/^ {2}(16-bit|int8 without decomposition|LLM\.int8\(\)) .*MB/gm) ?? [];
  expect(rows).toHaveLength(8);
  expect(stdout).toMatch(/^ {2}BitNet b1\.58, trained ternary +2\.\d\d +\d\.\d MB +\d+\.\d\d$/m);
  expect(stdout).toContain('sample-opt with 5 outlier features');
  expect(stdout).toMatch(/LLM\.int8\(\) multiplies those few columns in\s+16 bits and stays at/);
  expect(stdout).toMatch(/It was a dark night, and the old man .+/);
  expect(existsSync(temporary)).toBe(true);
});

test('Ctrl-C leaves no folder behind', async () => {
  const { code } = await fewbit(['demo'], { env, signal: 'SIGINT' });
  expect(code).toBe(130);
  expect(readdirSync(temporary)).toEqual([]);
});
