/**
 * What fits one GPU: a whole model with 4-bit GPTQ weights (random ones, of a preset's shape), beside
 * it caches of 16, 4 and 3 bits for as many sequences as there is memory for, and decode steps at the
 * ends of those sequences. Nothing is computed from formulas: what is reported was allocated and ran.
 *
 *   node dist/bench/capacity.js [--config llama-2-7b,opt-66b] [--context 4096,2048] [--bits 16,4,3]
 *     [--scales static|dynamic] [--group-size 128] [--memory GB] [--device cuda:0] [--json]
 *
 * `--context` has one number for each config, or one for all. `--memory` is for a device with more
 * than that, in units of 10^9 bytes: the rest of its memory is taken first.
 */
import {
  AutoModelForCausalLM,
  type Device,
  type DeviceName,
  ops,
  presetFields,
  type Tensor,
} from 'fewbit';
import { type Filled, fillDevice } from './support/filled-cache';
import { type CacheKind, tokenBytes } from './support/layer-cache';
import { oneOf, parseOptions } from './support/options';
import { type Column, markdownTable, short } from './support/table';

interface Result extends Filled, CacheKind {
  config: string;
  context: number;
  /** Bytes of keys and values of a token in all layers. */
  bytesPerToken: number;
  weightBytes: number;
  /** Tokens in the cache. */
  tokens: number;
  tokensPerSecond: number;
}

/** Bytes of one tensor that only takes memory. */
const BALLAST = 2 ** 30;

const values = parseOptions({
  config: { type: 'string', default: 'llama-2-7b,opt-66b' },
  context: { type: 'string', default: '4096,2048' },
  bits: { type: 'string', default: '16,4,3' },
  scales: { type: 'string', default: 'static' },
  'group-size': { type: 'string', default: '128' },
  memory: { type: 'string' },
  device: { type: 'string', default: 'cuda' },
  json: { type: 'boolean', default: false },
});

function kinds(): CacheKind[] {
  const scales = oneOf('scales', values.scales, ['static', 'dynamic']);
  return values.bits.split(',').map((text): CacheKind => {
    const bits = ([16, ...ops.KV_BITS] as const).find((known) => String(known) === text);
    if (!bits) throw new Error(`--bits takes 16, ${ops.KV_BITS.join(', ')}, got '${text}'`);
    return { bits, scales };
  });
}

/** Takes memory until no more than `--memory` is left of the device. */
function limitMemory(device: Device): Tensor[] {
  if (values.memory === undefined) return [];
  const limit = Number(values.memory) * 1e9;
  if (!(limit > 0)) throw new Error(`--memory takes a number of GB, got '${values.memory}'`);
  const count = Math.max(0, Math.ceil((device.memory().total - limit) / BALLAST));
  return Array.from({ length: count }, () => device.allocate('u8', [BALLAST]));
}

async function measure(config: string, context: number): Promise<Result[]> {
  const quantization_config = {
    quant_method: 'gptq',
    bits: 4,
    group_size: Number(values['group-size']),
    sym: false,
    checkpoint_format: 'gptq_v2',
  };
  const model = await AutoModelForCausalLM.fromConfig(
    { ...presetFields(config), quantization_config },
    { device: values.device as DeviceName, maxContext: context },
  );
  const { transformer } = model;
  const { cacheShape, bytes: weightBytes } = transformer;
  const ballast = limitMemory(model.device);
  const results: Result[] = [];
  for (const kind of kinds()) {
    const filled = await fillDevice(transformer, kind, context);
    results.push({
      config,
      context,
      ...kind,
      ...filled,
      usedBytes: filled.usedBytes - ballast.length * BALLAST,
      weightBytes,
      bytesPerToken: cacheShape.layers * tokenBytes(cacheShape, kind),
      tokens: filled.batch * context,
      tokensPerSecond: (1000 * filled.batch) / filled.step,
    });
    process.stderr.write('.');
  }
  for (const tensor of ballast) tensor.dispose();
  await model.dispose();
  return results;
}

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2);

const COLUMNS: Column<Result>[] = [
  { title: 'model', cell: (r) => `${r.config} W4` },
  { title: 'cache', cell: (r) => (r.bits === 16 ? '16 bit' : `${r.bits} bit ${r.scales}`) },
  { title: 'context', cell: (r) => String(r.context) },
  { title: 'batch', cell: (r) => String(r.batch) },
  { title: 'tokens', cell: (r) => String(r.tokens) },
  { title: 'bytes/token', cell: (r) => String(r.bytesPerToken) },
  { title: 'weights GB', cell: (r) => gigabytes(r.weightBytes) },
  { title: 'cache GB', cell: (r) => gigabytes(r.cacheBytes) },
  { title: 'all GB', cell: (r) => gigabytes(r.usedBytes) },
  { title: 'step ms', cell: (r) => short(r.step) },
  { title: 'tok/s', cell: (r) => short(r.tokensPerSecond) },
];

async function main(): Promise<void> {
  const configs = values.config.split(',');
  const contexts = values.context.split(',').map(Number);
  const results: Result[] = [];
  for (const [i, config] of configs.entries()) {
    results.push(...(await measure(config, contexts[i] ?? (contexts[0] as number))));
  }
  process.stderr.write('\n');
  if (values.json) {
    console.log(JSON.stringify({ ...values, results }, null, 1));
    return;
  }
  console.log(markdownTable(COLUMNS, results));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
