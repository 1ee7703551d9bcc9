/**
 * GPTQ's quantizer on the linear layers of one decoder block, as a whole model would run it: the
 * Hessian of all calibration tokens, its factor, the weights column by column. Times are those of
 * the host's clock, from the first op to the last one's end; layers that share an input share a
 * Hessian. Weights and inputs are noise, which takes as long as real ones.
 *
 *   node dist/bench/gptq-quantize.js --config llama-2-7b [--samples 128] [--seqlen 2048] [--bits 4]
 *     [--group-size 128] [--group-size=-1] [--desc-act] [--asym] [--mse 2.4] [--dtype f16|bf16] [--device cuda:0]
 *     [--json]
 */
import { Device, type DeviceName, type DType, ops, presetConfig } from 'fewbit';
import { oneOf, parseOptions } from './support/options';
import { type Peaks, peaksOf } from './support/peaks';
import { type LinearShape, linearShapes } from './support/shapes';
import { type Column, markdownTable, percent, short } from './support/table';

const values = parseOptions({
  config: { type: 'string', default: 'llama-2-7b' },
  samples: { type: 'string', default: '128' },
  seqlen: { type: 'string', default: '2048' },
  bits: { type: 'string', default: '4' },
  'group-size': { type: 'string', default: '128' },
  'desc-act': { type: 'boolean', default: false },
  asym: { type: 'boolean', default: false },
  mse: { type: 'string', default: '0' },
  dtype: { type: 'string', default: 'f16' },
  device: { type: 'string', default: 'cuda' },
  json: { type: 'boolean', default: false },
});

const STAGES = ['hessian', 'factor', 'quantize'] as const;
type Seconds = Record<(typeof STAGES)[number], number>;

interface Result extends LinearShape {
  config: string;
  blocks: number;
  seconds: Seconds;
  /** The least that the arithmetic of each stage allows at the device's peak rates. */
  floor: Seconds | undefined;
}

const tokens = Number(values.samples) * Number(values.seqlen);

/**
 * Half of x^T x on the 16-bit matrix units, since it is symmetric; a Cholesky factor and the inverse
 * of a triangle in double precision; one multiplication in fp32 for each pair of columns and row.
 */
function floorSeconds({ n, k }: LinearShape, peaks: Peaks): Seconds {
  return {
    hessian: (tokens * k * k) / peaks.half,
    factor: ((2 / 3) * k ** 3) / peaks.double,
    quantize: (n * k * k) / peaks.single,
  };
}

/** One layer, from its inputs to its codes. */
class TimedQuantizer {
  readonly #device: Device;
  readonly #dtype: DType;
  readonly #groupSize = Number(values['group-size']);

  constructor(device: Device) {
    this.#device = device;
    const half = oneOf('dtype', values.dtype, ['f16', 'bf16']);
    this.#dtype = device.type === 'cpu' ? 'f32' : half;
  }

  run({ n, k }: LinearShape, samples: number): Seconds {
    return this.#device.scope(() => {
      using x = this.#noise(this.#dtype, [Number(values.seqlen), k]);
      using w = this.#noise('f32', [n, k], 0.02);
      using h = this.#device.allocate('f32', [k, k]);
      const hessian = this.#seconds(() => this.#addHessian(h, x, samples));
      const groupSize = this.#groupSize === -1 ? undefined : this.#groupSize;
      const ordering = values['desc-act'] ? 'descending' : 'none';
      const factor: { made?: ops.GptqFactor } = {};
      const factoring = this.#seconds(() => {
        factor.made = ops.gptqFactor(h, { ordering, groupSize: groupSize ?? k, damp: 0.01 });
      });
      const grid = { bits: Number(values.bits) as 4, groupSize, sym: !values.asym };
      const quantize = this.#seconds(() => {
        ops.gptqQuantize(w, factor.made, { ...grid, mse: Number(values.mse) });
      });
      return { hessian, factor: factoring, quantize };
    });
  }

  #addHessian(h: ReturnType<Device['allocate']>, x: typeof h, samples: number): void {
    for (let sample = 1; sample <= samples; sample++) {
      const scale = 2 / (sample * Number(values.seqlen));
      ops.gptqHessian(h, x, { keep: (sample - 1) / sample, scale });
    }
  }

  #noise(dtype: DType, shape: number[], scale = 1) {
    return ops.fillRandom(this.#device.allocate(dtype, shape), 7, scale);
  }

  #seconds(body: () => void): number {
    this.#wait();
    const start = performance.now();
    body();
    this.#wait();
    return (performance.now() - start) / 1000;
  }

  /** A read is answered when all work before it is done. */
  #wait(): void {
    using last = this.#device.allocate('f32', [1]);
    last.read();
  }
}

function main(): void {
  const device = Device.open(values.device as DeviceName);
  const peaks = peaksOf(device.name);
  const timed = new TimedQuantizer(device);
  const results = values.config.split(',').flatMap((config) => {
    const blocks = presetConfig(config).numHiddenLayers;
    return linearShapes(config).map((shape): Result => {
      if (!values.json) process.stderr.write('.');
      const floor = peaks && floorSeconds(shape, peaks);
      timed.run(shape, 1); // loads kernels and libraries
      const seconds = timed.run(shape, Number(values.samples));
      return { config, blocks, ...shape, seconds, floor };
    });
  });
  if (!values.json) process.stderr.write('\n');
  report(device.name, results);
  device.dispose();
}

const sum = ({ hessian, factor, quantize }: Seconds): number => hessian + factor + quantize;

/** Seconds for all blocks of each model. */
function totals(results: readonly Result[]) {
  return [...new Set(results.map(({ config }) => config))].map((config) => {
    const mine = results.filter((result) => result.config === config);
    const all = (of: (result: Result) => number | undefined) =>
      mine.reduce((total, result) => total + (of(result) ?? Number.NaN) * result.blocks, 0);
    const seconds = all((result) => sum(result.seconds));
    return { config, seconds, floor: all(({ floor }) => floor && sum(floor)) };
  });
}

function report(device: string, results: Result[]): void {
  if (values.json) {
    console.log(JSON.stringify({ ...values, device, results, totals: totals(results) }, null, 1));
    return;
  }
  const columns: Column<Result>[] = [
    { title: 'model', cell: (r) => r.config },
    { title: 'layer', cell: (r) => r.layer },
    { title: 'N', cell: (r) => String(r.n) },
    { title: 'K', cell: (r) => String(r.k) },
    ...STAGES.flatMap((stage): Column<Result>[] => [
      { title: `${stage} ms`, cell: (r) => short(r.seconds[stage] * 1000) },
      { title: 'of floor', cell: (r) => share(r.floor?.[stage], r.seconds[stage]) },
    ]),
  ];
  const { samples, seqlen, bits } = values;
  console.log(`${device}, ${bits} bits, ${samples} samples of ${seqlen} tokens\n`);
  console.log(markdownTable(columns, results));
  for (const { config, seconds, floor } of totals(results)) {
    const known = floor ? `, ${percent(floor / seconds)} of the floor` : '';
    console.log(`\n${config}, all blocks: ${short(seconds)} s${known}`);
  }
}

function share(floor: number | undefined, seconds: number): string {
  return floor ? percent(floor / seconds) : '-';
}

try {
  main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
