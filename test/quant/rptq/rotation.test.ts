import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { quantize, RptqConfig, type RptqOptions } from '../../../lib';
import { dequantize, quantize as toCode } from '../../../lib/quant/rptq/affine';
import { rptqDiskConfig } from '../../../lib/quant/rptq/checkpoint-config';
import { clusterPlan } from '../../../lib/quant/rptq/cluster-plan';
import { channelGrid, type InputDesign } from '../../../lib/quant/rptq/input-design';
import { Observed } from '../../../lib/quant/rptq/observed';
import { designRotated, designRotatedHeads } from '../../../lib/quant/rptq/rotated-input';
import { rotateBlocks, rotationWidth } from '../../../lib/quant/rptq/rotation';
import { Folders } from '../../support/checkpoints';
import { readTensors } from '../../support/golden';
import { gaussian } from '../../support/random';
import { rotate } from './support/fake-quantized';
import { smallWindows, writeSmallModel } from './support/small-models';

const folders = new Folders();
afterAll(() => folders.dispose());

test.each([8, 32, 256])('blocks of %i: Hadamard, and its own reverse', (width) => {
  const next = gaussian(width);
  const x = Float32Array.from({ length: 3 * width }, () => next());
  const rotated = rotateBlocks(x.slice(), width);
  const [expected] = rotate([Float64Array.from(x)], width) as [Float64Array];
  for (const [k, value] of rotated.entries()) expect(value).toBeCloseTo(expected[k] as number, 5);
  for (const [k, value] of rotateBlocks(rotated, width).entries()) {
    expect(value).toBeCloseTo(x[k] as number, 5);
  }
});

test.each([
  [768, 256],
  [11008, 256],
  [96, 32],
  [64 * 13, 64],
])('%i channels go in blocks of %i', (channels, width) => {
  expect(rotationWidth(channels)).toBe(width);
});

describe('an input of 4 bits', () => {
  const channels = 256;

  function design(sizeOf: (row: number, k: number) => number): {
    found: InputDesign;
    error: (of: InputDesign) => number;
    plain: InputDesign;
  } {
    const next = gaussian(3);
    const [observed, rotated] = [new Observed(channels), new Observed(channels)];
    for (let window = 0; window < 3; window++) {
      const rows = Float32Array.from(
        { length: 60 * channels },
        (_, i) => next() * sizeOf(Math.floor(i / channels), i % channels),
      );
      observed.add(rows);
      rotated.add(rotateBlocks(rows.slice(), channels));
    }
    const plan = clusterPlan(channels, channels, new RptqConfig());
    const options = { plan, bits: 4 };
    const error = ({ order, rotation, ...clusters }: InputDesign): number => {
      const grid = channelGrid(clusters);
      let sum = 0;
      for (const row of observed.sample.rows) {
        const x = rotation ? rotateBlocks(row.slice(), rotation) : row;
        for (const [place, k] of order.entries()) {
          const own = { scale: grid[place] as number, zero: grid[channels + place] as number };
          sum += (dequantize(toCode(x[k] as number, own, 4), own) - (x[k] as number)) ** 2;
        }
      }
      return sum;
    };
    return {
      found: designRotated(observed, { observed: rotated, width: channels }, options),
      plain: designRotated(observed, undefined, options),
      error,
    };
  }

  test('is rotated where every token has a few large channels, other ones each time', () => {
    const { found, plain, error } = design((row, k) => ((row * 7 + k) % 64 === 0 ? 30 : 1));
    expect(found.rotation).toBe(channels);
    expect([...found.order]).toEqual([...found.order.keys()]);
    expect(found.sizes).toEqual(Array(channels).fill(1));
    expect(error(found)).toBeLessThan(error(plain) / 2);
  });

  test('is not where the large channels are always the same, which clusters are for', () => {
    const { found, plain } = design((_, k) => (k % 64 === 0 ? 30 : 1));
    expect(found).toEqual(plain);
    expect(found.rotation).toBeUndefined();
  });
});

describe('what attention makes, of 4 heads that share 2 of values', () => {
  const [width, kvHeads] = [64, 2];
  const channels = 4 * width;

  test.each([
    [
      'few large channels, other ones in each token',
      (row: number, k: number) => (row * 7 + k) % 64 === 0,
      true,
    ],
    ['always the same large channels', (_: number, k: number) => k % 64 < 4, false],
  ] as const)('%s: values keep their order where it is rotated', (_, isLarge, isRotated) => {
    const next = gaussian(4);
    const [observed, rotated] = [new Observed(channels), new Observed(channels)];
    const rows = Float32Array.from(
      { length: 150 * channels },
      (_, i) => next() * (isLarge(Math.floor(i / channels), i % channels) ? 30 : 1),
    );
    observed.add(rows);
    rotated.add(rotateBlocks(rows.slice(), channels));
    const plan = clusterPlan(channels, width, new RptqConfig());
    const options = { plan, bits: 4 };
    const other = { observed: rotated, width: channels };
    const { rotation, order, valueOrder } = designRotatedHeads(observed, kvHeads, other, options);
    const plain = designRotatedHeads(observed, kvHeads, undefined, options);
    const places = (count: number): number[] => [...Array(count).keys()];
    expect(rotation).toBe(isRotated ? channels : undefined);
    expect([...order]).toEqual(isRotated ? places(channels) : [...plain.order]);
    expect([...valueOrder]).toEqual(isRotated ? places(kvHeads * width) : [...plain.valueOrder]);
    expect([...plain.order]).not.toEqual(places(channels));
  });
});

test('only checkpoints that may have rotated inputs are of the second version', () => {
  const versions = (options: RptqOptions) => rptqDiskConfig(new RptqConfig(options)).version;
  expect(versions({ config: 'W4A4' })).toBe(2);
  expect(versions({ config: 'W4A4', rotate: false })).toBe(1);
  for (const config of ['W4A16', 'W4A8', 'W4A4KV', 'W16A16-KV3'] as const) {
    expect(versions({ config })).toBe(1);
  }
});

test.each([
  [{ config: 'W4A4' }, true],
  [{ config: 'W4A4', rotate: false }, false],
  [{ config: 'W4A8' }, false],
] as const)('%o: whether inputs are rotated: %s', async (options, isRotated) => {
  const [original, out] = [folders.path(), folders.path()];
  await writeSmallModel(original, 'llama');
  await quantize(
    original,
    { method: 'rptq', ...options },
    { out, device: 'cpu', dataset: smallWindows(5, 40) },
  );
  const tensors = readTensors(join(out, 'model.safetensors'));
  const rotations = [...tensors].filter(([name]) => name.endsWith('.input_rotation'));
  // In which layers depends on their errors.
  expect(rotations.length > 0).toBe(isRotated);
  for (const [name, { bytes }] of rotations) {
    expect(name).toMatch(/(o|down)_proj\.input_rotation$/);
    expect([...new Int32Array(bytes.buffer)]).toEqual([/down/.test(name) ? 32 : 128]);
  }
  const { quantization_config: written } = JSON.parse(
    readFileSync(join(out, 'config.json'), 'utf8'),
  );
  expect(written).toMatchObject({
    version: isRotated ? 2 : 1,
    rotate: options.config === 'W4A8' || isRotated,
  });
});
