/**
 * One linear layer at a time: quantized weights against 16-bit ones by cuBLASLt, both replayed as
 * CUDA graphs in the same run, with weights that are not in the cache.
 *
 *   node dist/bench/linear.js --config llama-2-7b,opt-66b --m 1,16,64,512
 *     [--method llm.int8|gptq|rptq|bitnet|f16,...] [--bits 2|3|4|8,...] [--group-size 128]
 *     [--input-bits 8|4,...] [--rotation 256]
 *     [--threshold 6] [--outliers 6] [--shape 4096x4096,...] [--dtype f16|bf16]
 *     [--device cuda:0] [--json]
 *
 * `rptq` includes the quantization of its input on a static grid, after a rotation in blocks of so many
 * columns where `--rotation` says so. `f16` as a method is fewbit's own
 * choice of kernel for 16-bit weights.
 */
import { Device, type DeviceName } from 'fewbit';
import {
  bitsPerWeight,
  METHOD_OPTIONS,
  type Method,
  nameOf,
  parseMethods,
} from './support/methods';
import { oneOf, parseOptions } from './support/options';
import { type Peaks, peaksOf } from './support/peaks';
import { type LinearShape, linearShapes, parseShape } from './support/shapes';
import { type Column, markdownTable, percent, short } from './support/table';
import { TimedLinear } from './support/timed-linear';

interface Result extends LinearShape {
  config: string;
  m: number;
  method: string;
  /** Bits of a weight with its share of scales and zero points. */
  bits: number;
  /** Microseconds of the 16-bit product by cuBLASLt, and of the method. */
  half: number;
  us: number;
  /** half / us. */
  ratio: number;
  /** The least time that bytes or operations of the layer allow, over the time taken. */
  floorShare: number | undefined;
}

const values = parseOptions({
  config: { type: 'string', default: 'llama-2-7b' },
  method: { type: 'string', default: 'llm.int8' },
  ...METHOD_OPTIONS,
  shape: { type: 'string' },
  m: { type: 'string', default: '1,16,64,256,1024,4096' },
  threshold: { type: 'string', default: '6' },
  outliers: { type: 'string', default: '6' },
  'input-bits': { type: 'string', default: '8' },
  rotation: { type: 'string', default: '0' },
  dtype: { type: 'string', default: 'f16' },
  device: { type: 'string', default: 'cuda' },
  json: { type: 'boolean', default: false },
});

function floorMicroseconds(method: Method, { n, k }: LinearShape, m: number, peaks: Peaks): number {
  const bytes = (n * k * bitsPerWeight(method, k)) / 8 + 2 * m * (n + k);
  const isInteger = ['llm.int8', 'bitnet', 'rptq'].includes(method.kind);
  const rate = isInteger ? peaks.int8 : peaks.half;
  return Math.max(bytes / peaks.bandwidth, (2 * m * n * k) / rate) * 1e6;
}

function layers(): (LinearShape & { config: string })[] {
  if (values.shape) {
    return values.shape.split(',').map((text) => ({ config: '-', ...parseShape(text) }));
  }
  return values.config
    .split(',')
    .flatMap((config) => linearShapes(config).map((shape) => ({ config, ...shape })));
}

async function main(): Promise<void> {
  const methods = parseMethods(
    values.method,
    values.bits,
    values['group-size'],
    values['input-bits'],
  );
  const device = Device.open(values.device as DeviceName);
  const peaks = peaksOf(device.name);
  const input = {
    threshold: Number(values.threshold),
    outliers: Number(values.outliers),
    rotation: Number(values.rotation),
  };
  const dtype = oneOf('dtype', values.dtype, ['f16', 'bf16']);
  const results: Result[] = [];
  for (const layer of layers()) {
    const timed = new TimedLinear(device, layer, dtype, input);
    for (const m of values.m.split(',').map(Number)) {
      const half = await timed.baseline(m);
      for (const method of methods) {
        const us = await timed.time(m, method);
        const floorShare = peaks && floorMicroseconds(method, layer, m, peaks) / us;
        const bits = bitsPerWeight(method, layer.k);
        const name = nameOf(method);
        results.push({ ...layer, m, method: name, bits, half, us, ratio: half / us, floorShare });
        process.stderr.write('.');
      }
    }
  }
  process.stderr.write('\n');
  report(device.name, results);
  device.dispose();
}

function report(device: string, results: Result[]): void {
  if (values.json) {
    console.log(JSON.stringify({ ...values, device, results }, null, 1));
    return;
  }
  const columns: Column<Result>[] = [
    { title: 'model', cell: (r) => r.config },
    { title: 'layer', cell: (r) => r.layer },
    { title: 'N', cell: (r) => String(r.n) },
    { title: 'K', cell: (r) => String(r.k) },
    { title: 'M', cell: (r) => String(r.m) },
    { title: 'method', cell: (r) => r.method },
    { title: 'bits', cell: (r) => r.bits.toFixed(2) },
    { title: `${values.dtype} us`, cell: (r) => short(r.half) },
    { title: 'us', cell: (r) => short(r.us) },
    { title: 'ratio', cell: (r) => r.ratio.toFixed(2) },
    { title: 'of floor', cell: (r) => (r.floorShare ? percent(r.floorShare) : '-') },
  ];
  const split = `threshold ${values.threshold}, ${values.outliers} outlier columns`;
  console.log(`${device}${values.method.includes('llm.int8') ? `, ${split}` : ''}\n`);
  console.log(markdownTable(columns, results));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
