import { AutoModelForCausalLM, naivePerplexity } from '../../lib';
import { type Matrix, PlainModel, type Taps } from '../quant/rptq/support/plain-model';
import {
  type Architecture,
  smallWindows,
  writeSmallModel,
} from '../quant/rptq/support/small-models';
import { Folders } from '../support/checkpoints';
import { roundEven } from '../support/half';

const folders = new Folders();
afterAll(() => folders.dispose());

const WINDOW = 24;
const HEAD = 32;
const ids = smallWindows(1, 2 * WINDOW)[0] as number[];
const calibration = smallWindows(3, 30);

type Range = { min: number; max: number };

function rangeOf(values: Iterable<number>): Range {
  const all = [...values];
  return { min: Math.min(...all), max: Math.max(...all) };
}

/** x on the grid of signed codes for a range: arXiv 2304.01089's reference implementation. */
function onGrid(values: Float64Array, { min, max }: Range, bits: number): Float64Array {
  const scale = Math.max((max - min) / 2 ** bits, 1e-4);
  const zero = roundEven(-(max + min) / (2 * scale));
  const half = 2 ** (bits - 1);
  return values.map((x) => {
    const code = Math.min(Math.max(roundEven(x / scale) + zero, -half), half - 1);
    return (code - zero) * scale;
  });
}

/** Every run of `width` values of every row on a grid of its own. */
function byToken(x: Matrix, bits: number, width = x[0]?.length ?? 0): Matrix {
  return x.map((row) => {
    const out = row.slice();
    for (let at = 0; at < row.length; at += width) {
      const own = row.slice(at, at + width);
      out.set(onGrid(own, rangeOf(own), bits), at);
    }
    return out;
  });
}

function perplexityOf(model: PlainModel, taps: Taps): number {
  let sum = 0;
  for (let begin = 0; begin < ids.length; begin += WINDOW) {
    const window = ids.slice(begin, begin + WINDOW);
    const logits = model.forward(window, taps);
    for (const [t, row] of logits.slice(0, -1).entries()) {
      const most = Math.max(...row);
      const total = row.reduce((all, value) => all + Math.exp(value - most), 0);
      sum += Math.log(total) + most - (row[window[t + 1] as number] as number);
    }
  }
  return Math.exp(sum / (ids.length - ids.length / WINDOW));
}

/** Spans over the calibration windows: of inputs by the first reader, of attention by kind. */
function spansOf(model: PlainModel): Map<string, Range> {
  const spans = new Map<string, Range>();
  const add = (name: string, x: Matrix): Matrix => {
    const now = rangeOf(x.flatMap((row) => [...row]));
    const { min, max } = spans.get(name) ?? now;
    spans.set(name, { min: Math.min(min, now.min), max: Math.max(max, now.max) });
    return x;
  };
  for (const window of calibration) {
    model.forward(window, {
      input: ([name], x) => add(name as string, x),
      attention: (layer, kind, x) => add(`${layer} ${kind}`, x),
    });
  }
  return spans;
}

const isInner = (name: string): boolean => /(o_proj|out_proj|down_proj|fc2)$/.test(name);

describe.each<Architecture>(['llama', 'opt'])('%s', (architecture) => {
  const folder = folders.path();
  beforeAll(() => writeSmallModel(folder, architecture));

  test('by token: each row of an input, and each head of a query, has a grid of its own', async () => {
    const widths = { norm: 8, inner: 4, query: 4, cache: 16 } as const;
    await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
    const found = await naivePerplexity(model, ids, { by: 'token', widths, window: WINDOW });
    const plain = PlainModel.read(folder);
    const expected = perplexityOf(plain, {
      input: ([name], x) => byToken(x, isInner(name as string) ? widths.inner : widths.norm),
      attention: (_, kind, x) => (kind === 'query' ? byToken(x, widths.query, HEAD) : x),
    });
    expect(found / expected).toBeCloseTo(1, 3);
    expect(Math.abs(perplexityOf(plain, {}) / expected - 1)).toBeGreaterThan(0.005);
  });

  test('by tensor: each activation, the cache included, has one grid', async () => {
    const widths = { norm: 8, inner: 4, query: 4, cache: 4 } as const;
    await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
    const options = { by: 'tensor', widths, window: WINDOW, calibration } as const;
    const found = await naivePerplexity(model, ids, options);
    const plain = PlainModel.read(folder);
    const spans = spansOf(plain);
    const onSpan = (name: string, x: Matrix, bits: number): Matrix =>
      x.map((row) => onGrid(row, spans.get(name) as Range, bits));
    const expected = perplexityOf(plain, {
      input: ([name], x) =>
        onSpan(name as string, x, isInner(name as string) ? widths.inner : widths.norm),
      attention: (layer, kind, x) => onSpan(`${layer} ${kind}`, x, 4),
    });
    expect(found / expected).toBeCloseTo(1, 3);
    expect(Math.abs(perplexityOf(plain, {}) / expected - 1)).toBeGreaterThan(0.005);
  });
});
