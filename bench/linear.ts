/**
 * One linear layer at a time: LLM.int8() against fp16 by cuBLASLt, both replayed as CUDA graphs in
 * the same run, with weights that are not in the cache.
 *
 *   node dist/bench/linear.js --config llama-2-7b,opt-66b --m 1,16,64,512 [--threshold 6]
 *     [--outliers 6] [--shape 4096x4096,...] [--dtype f16|bf16] [--device cuda:0] [--json]
 */
import { parseArgs } from 'node:util';
import { Device, type DeviceName } from 'fewbit';
import { type Peaks, peaksOf } from './support/peaks';
import { type LinearShape, linearShapes, parseShape } from './support/shapes';
import { type Column, markdownTable, percent, short } from './support/table';
import { TimedLinear } from './support/timed-linear';

interface Result extends LinearShape {
  config: string;
  m: number;
  /** Microseconds. */
  half: number;
  int8: number;
  /** half / int8. */
  ratio: number;
  /** The least time that bytes or operations of the int8 layer allow, over the time taken. */
  floorShare: number | undefined;
}

const { values } = parseArgs({
  options: {
    config: { type: 'string', default: 'llama-2-7b' },
    shape: { type: 'string' },
    m: { type: 'string', default: '1,16,64,256,1024,4096' },
    threshold: { type: 'string', default: '6' },
    outliers: { type: 'string', default: '6' },
    dtype: { type: 'string', default: 'f16' },
    device: { type: 'string', default: 'cuda' },
    json: { type: 'boolean', default: false },
  },
});

function floorMicroseconds({ n, k, m }: { n: number; k: number; m: number }, peaks: Peaks): number {
  const bytes = n * k + 2 * m * (n + k);
  return Math.max(bytes / peaks.bandwidth, (2 * m * n * k) / peaks.int8) * 1e6;
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
  const device = Device.open(values.device as DeviceName);
  const peaks = peaksOf(device.name);
  const split = { threshold: Number(values.threshold), outliers: Number(values.outliers) };
  const dtype = values.dtype === 'bf16' ? 'bf16' : 'f16';
  const results: Result[] = [];
  for (const layer of layers()) {
    const timed = new TimedLinear(device, layer, dtype);
    for (const m of values.m.split(',').map(Number)) {
      const half = await timed.half(m);
      const int8 = await timed.int8(m, split);
      const floorShare = peaks && floorMicroseconds({ ...layer, m }, peaks) / int8;
      results.push({ ...layer, m, half, int8, ratio: half / int8, floorShare });
      if (!values.json) process.stderr.write('.');
    }
  }
  if (!values.json) process.stderr.write('\n');
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
    { title: `${values.dtype} us`, cell: (r) => short(r.half) },
    { title: 'LLM.int8() us', cell: (r) => short(r.int8) },
    { title: 'ratio', cell: (r) => r.ratio.toFixed(2) },
    { title: 'of floor', cell: (r) => (r.floorShare ? percent(r.floorShare) : '-') },
  ];
  console.log(`${device}, threshold ${values.threshold}, ${values.outliers} outlier columns\n`);
  console.log(markdownTable(columns, results));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
