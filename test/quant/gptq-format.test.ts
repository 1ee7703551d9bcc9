import type { GptqBits } from '../../lib/ops';
import { GPTQ_BITS } from '../../lib/ops';
import { planarToStream } from '../../lib/quant/gptq/planar';
import { layerTensors, type QuantizedLayer } from '../../lib/quant/gptq/quantized-layer';
import {
  dense,
  type Format,
  type HostPart,
  LoadedLayer,
  type PlainLayer,
  packStream,
  partsOf,
  plainLayer,
} from '../support/gptq-layer';
import { encode } from '../support/host-tensor';
import { integer } from '../support/random';
import { normals } from '../support/tensors';

const FORMATS: Format[] = ['gptq', 'gptq_v2', 'gptq_p'];

async function weightOf(layer: PlainLayer, format: Format, parts?: Map<string, HostPart>) {
  using loaded = await LoadedLayer.open(layer, format, parts);
  return loaded.weight(layer.k);
}

/** Equality that is fast for long arrays. */
function expectSame(actual: Float32Array, expected: Float32Array): void {
  expect(actual).toHaveLength(expected.length);
  const at = actual.findIndex((value, i) => value !== expected[i]);
  expect([at, actual[at]]).toEqual([-1, undefined]);
}

/** A layer as the quantizer hands it to the packer. */
function quantizedOf(layer: PlainLayer): QuantizedLayer {
  const { bits, groupSize, sym, n, codes, zeros, scales, groupOf } = layer;
  const byOutput = (rows: number[][]) =>
    Array.from({ length: n }, (_, col) => rows.map((row) => row[col] as number)).flat();
  return {
    bits,
    groupSize,
    sym,
    codes: Uint8Array.from(byOutput(codes)),
    zeros: Uint8Array.from(byOutput(zeros)),
    scales: encode(Float64Array.from(byOutput(scales)), 'f16') as Uint16Array,
    groupOf: Int32Array.from(groupOf),
    outFeatures: n,
    loss: 0,
    damp: 0,
  };
}

/** What rounding to nearest with a scale of 2 * max / maxq makes of random weights. */
function roundedLayer(bits: GptqBits, groupSize: number): PlainLayer {
  const layer = plainLayer({ bits, n: 32, k: 2048, groupSize });
  const most = 2 ** bits - 1;
  const weights = normals(layer.k * layer.n, bits);
  for (const row of layer.scales) row.fill(0);
  const at = (i: number, col: number) => weights[i * layer.n + col] as number;
  for (const [i, group] of layer.groupOf.entries()) {
    const scales = layer.scales[group] as number[];
    for (let col = 0; col < layer.n; col++) {
      scales[col] = Math.max(scales[col] as number, (2 * Math.abs(at(i, col))) / most);
    }
  }
  for (const row of layer.scales) {
    for (const [col, scale] of row.entries()) row[col] = Math.round(scale * 2 ** 8) / 2 ** 8;
  }
  for (const [i, group] of layer.groupOf.entries()) {
    const codes = layer.codes[i] as number[];
    for (let col = 0; col < layer.n; col++) {
      const level = Math.round(at(i, col) / (layer.scales[group]?.[col] as number));
      codes[col] = Math.max(0, Math.min(most, level + 2 ** (bits - 1)));
    }
  }
  return layer;
}

describe.each(GPTQ_BITS)('%i bits', (bits) => {
  test.each([32, 64, 128, -1])('2048 inputs in groups of %i, exactly', async (groupSize) => {
    const layer = roundedLayer(bits, groupSize);
    const parts = partsOf(layer, 'gptq');
    for (const { name, dtype, shape, read } of layerTensors('x', quantizedOf(layer), 'gptq')) {
      const own = { dtype, shape, data: await read() };
      expect([name, own]).toEqual([name, parts.get(name.slice(2))]);
    }
    expectSame(await weightOf(layer, 'gptq', parts), dense(layer));
  });

  test.each(FORMATS)('any zero points and a mixed order in the format %s', async (format) => {
    const layer = plainLayer({ bits, n: 96, k: 128, groupSize: 32 }, { sym: false, mixed: true });
    // A zero point of 0 is the one that v1 cannot hold in a field.
    for (const row of layer.zeros) row.splice(0, 3, 0, 2 ** bits - 1, 0);
    const emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation();
    try {
      using loaded = await LoadedLayer.open(layer, format);
      expectSame(loaded.weight(layer.k), dense(layer));
      const expected = partsOf(layer, 'gptq_v2');
      for (const { name, dtype, shape, read } of loaded.stored()) {
        const own = { dtype, shape, data: await read() };
        expect([name, own]).toEqual([name, expected.get(name.slice('layer.'.length))]);
      }
      expect(emitWarning).toHaveBeenCalledTimes(format === 'gptq' ? 1 : 0);
    } finally {
      emitWarning.mockRestore();
    }
  });

  test.each([true, false])('a last group that is short, g_idx mixed: %s', async (mixed) => {
    const layer = plainLayer({ bits, n: 32, k: 160, groupSize: 64 }, { sym: false, mixed });
    const parts = partsOf(layer, 'gptq_v2');
    expectSame(await weightOf(layer, 'gptq_v2', parts), dense(layer));
    if (mixed) return;
    parts.delete('g_idx');
    expectSame(await weightOf(layer, 'gptq_v2', parts), dense(layer));
  });

  test.each<[string, object]>([
    ['symmetric', { sym: true }],
    ['asymmetric', { sym: false }],
    ['asymmetric, mixed', { sym: false, mixed: true }],
  ])('a product with bias: %s', async (_, traits) => {
    const layer = plainLayer({ bits, n: 32, k: 64, groupSize: 32 }, { ...traits, bias: true });
    using loaded = await LoadedLayer.open(layer, 'gptq_v2');
    const [m, { n, k }] = [6, layer];
    const x = Float32Array.from(normals(m * k, bits));
    const weight = dense(layer);
    for (const [at, value] of loaded.forward(x, m).entries()) {
      const [row, col] = [Math.floor(at / n), at % n];
      let exact = layer.bias?.[col] as number;
      let size = Math.abs(exact);
      for (let i = 0; i < k; i++) {
        const term = (x[row * k + i] as number) * (weight[i * n + col] as number);
        exact += term;
        size += Math.abs(term);
      }
      expect(Math.abs(value - exact) / size).toBeLessThan(1e-6);
    }
  });

  test.each<[Format, number]>([
    ['gptq', -1],
    ['gptq_v2', 0],
  ])('zeros everywhere and scales of 1, in the format %s: weights of %i', async (format, value) => {
    const layer = plainLayer({ bits, n: 32, k: 32, groupSize: 32 });
    for (const row of layer.scales) row.fill(1);
    const parts = partsOf(layer, format);
    for (const name of ['qweight', 'qzeros']) {
      const { data } = parts.get(name) as HostPart;
      (data as Int32Array).fill(0);
    }
    expect(new Set(await weightOf(layer, format, parts))).toEqual(new Set([value]));
  });
});

describe('planar words', () => {
  const hex = (words: Iterable<number>) =>
    [...words].map((word) => (word >>> 0).toString(16).toUpperCase().padStart(8, '0'));

  test('of the codes 0 .. 7, four times', () => {
    const codes = Array.from({ length: 32 }, (_, i) => i % 8);
    const planar = Int32Array.from(packStream(codes, 3, true));
    expect(hex(planar)).toEqual(['E4E4E4E4', 'E4E4E4E4', 'F0F0F0F0']);
    planarToStream(planar, 1);
    expect(hex(planar)).toEqual(['88FAC688', 'C688FAC6', 'FAC688FA']);
  });

  test('down columns and along rows, whatever the codes', () => {
    const next = integer(3, 0, 7);
    const columns = Array.from({ length: 5 }, () => Array.from({ length: 96 }, next));
    const words = (planar: boolean) => {
      const packed = columns.map((codes) => packStream(codes, 3, planar));
      return (packed[0] as number[]).flatMap((_, row) => packed.map((own) => own[row] as number));
    };
    const rewritten = Int32Array.from(words(true));
    planarToStream(rewritten, 5);
    expect([...rewritten]).toEqual(words(false));
  });

  test.each([2, 4, 8] as const)('are the same as others in %i bits', (bits) => {
    const layer = plainLayer({ bits, n: 32, k: 64, groupSize: 32 }, { sym: false });
    expect(partsOf(layer, 'gptq_p')).toEqual(partsOf(layer, 'gptq_v2'));
  });
});
