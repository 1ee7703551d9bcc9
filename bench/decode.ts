/**
 * A whole model with random weights of a preset's shape: prefill time, decode speed and memory.
 *
 *   node dist/bench/decode.js --config llama-2-7b [--method f16,llm.int8,gptq,bitnet] [--bits 4,3,2]
 *     [--group-size 128] [--lm-head int8] [--prompt 512] [--new 128] [--batch 1] [--device cuda] [--json]
 *
 * `--lm-head int8` adds a row for each model of the method bitnet: with its head in int8.
 */
import {
  AutoModelForCausalLM,
  type CausalLanguageModel,
  Device,
  type DeviceName,
  presetFields,
} from 'fewbit';
import { METHOD_OPTIONS, type Method, nameOf, parseMethods } from './support/methods';
import { parseOptions } from './support/options';
import { type Peaks, peaksOf } from './support/peaks';
import { type Column, markdownTable, median, percent, short } from './support/table';

interface Result {
  config: string;
  method: string;
  batch: number;
  /** Milliseconds until the first token. */
  prefill: number;
  /** New tokens per second of all sequences together, after the first. */
  tokensPerSecond: number;
  /** Decode speed over that of the first method. */
  ratio: number;
  weightBytes: number;
  cacheBytes: number;
  /** Most memory held by tensors and activations, and the same over weights + cache. */
  peakBytes: number;
  peakRatio: number;
  /** Time to read weights and cache once, over the time of a step. */
  floorShare: number | undefined;
}

const values = parseOptions({
  config: { type: 'string', default: 'llama-2-7b' },
  method: { type: 'string', default: 'f16,llm.int8' },
  ...METHOD_OPTIONS,
  prompt: { type: 'string', default: '512' },
  new: { type: 'string', default: '128' },
  batch: { type: 'string', default: '1' },
  'lm-head': { type: 'string' },
  runs: { type: 'string', default: '3' },
  device: { type: 'string', default: 'cuda' },
  json: { type: 'boolean', default: false },
});

const PAGE = 64;
const counts = {
  prompt: Number(values.prompt),
  fresh: Number(values.new),
  batch: Number(values.batch),
  runs: Number(values.runs),
};

const BITNET = { quant_method: 'bitnet', linear_class: 'autobitlinear' };

/** What config.json of a model quantized by the method says. */
function fieldsOf(config: string, method: Method): Record<string, unknown> {
  // The preset of a model that is always quantized says so; other methods want it without.
  const { quantization_config: own, ...fields } = presetFields(config);
  if (method.kind === 'bitnet') return { ...fields, quantization_config: own ?? BITNET };
  if (method.kind !== 'gptq') return fields;
  const { kind: quant_method, bits, groupSize: group_size } = method;
  const layout = { sym: false, checkpoint_format: 'gptq_v2' };
  return { ...fields, quantization_config: { quant_method, bits, group_size, ...layout } };
}

async function load(
  config: string,
  method: Method,
  lmHead: 'int8' | undefined,
): Promise<CausalLanguageModel> {
  const maxContext = counts.prompt + counts.fresh + 1;
  return AutoModelForCausalLM.fromConfig(fieldsOf(config, method), {
    device: values.device as DeviceName,
    ...(method.kind === 'llm.int8' ? { quantization: { method: method.kind } } : {}),
    ...(lmHead ? { quantization: { method: 'bitnet', lmHead } } : {}),
    maxContext,
    maxBatch: counts.batch,
    pages: Math.ceil(maxContext / PAGE) * counts.batch,
    pageSize: PAGE,
  });
}

/** Milliseconds to the first token of the last sequence, and from there to the last token. */
async function generate(model: CausalLanguageModel): Promise<{ first: number; rest: number }> {
  const start = performance.now();
  const runs = Array.from({ length: counts.batch }, async (_, row) => {
    const prompt = Array.from(
      { length: counts.prompt },
      (_, i) => 5 + ((i * 31 + row * 17) % 3000),
    );
    let first = 0;
    for await (const _token of model.engine.generate(prompt, {
      maxNewTokens: counts.fresh,
      ignoreEos: true,
    })) {
      first ||= performance.now() - start;
    }
    return first;
  });
  const first = Math.max(...(await Promise.all(runs)));
  return { first, rest: performance.now() - start - first };
}

async function measure(
  config: string,
  method: Method,
  lmHead: 'int8' | undefined,
  peaks: Peaks | undefined,
): Promise<Result> {
  const model = await load(config, method, lmHead);
  await generate(model);
  const runs = [];
  for (let i = 0; i < counts.runs; i++) runs.push(await generate(model));
  const prefill = median(runs.map(({ first }) => first));
  const step = median(runs.map(({ rest }) => rest)) / (counts.fresh - 1);
  const weightBytes = model.transformer.bytes;
  const { cacheBytes } = model.engine.usage;
  const { peak: peakBytes } = model.device.memory();
  const floor = peaks && ((weightBytes + cacheBytes) / peaks.bandwidth) * 1000;
  await model.dispose();
  return {
    config,
    method: lmHead ? `${nameOf(method)}, int8 head` : nameOf(method),
    batch: counts.batch,
    prefill,
    tokensPerSecond: (1000 * counts.batch) / step,
    ratio: 1,
    weightBytes,
    cacheBytes,
    peakBytes,
    peakRatio: peakBytes / (weightBytes + cacheBytes),
    floorShare: floor && floor / step,
  };
}

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2);

const COLUMNS: Column<Result>[] = [
  { title: 'model', cell: (r) => r.config },
  { title: 'method', cell: (r) => r.method },
  { title: 'batch', cell: (r) => String(r.batch) },
  { title: 'prefill ms', cell: (r) => short(r.prefill) },
  { title: 'decode tok/s', cell: (r) => short(r.tokensPerSecond) },
  { title: 'ratio', cell: (r) => r.ratio.toFixed(2) },
  { title: 'of floor', cell: (r) => (r.floorShare ? percent(r.floorShare) : '-') },
  { title: 'weights GB', cell: (r) => gigabytes(r.weightBytes) },
  { title: 'cache GB', cell: (r) => gigabytes(r.cacheBytes) },
  { title: 'peak GB', cell: (r) => gigabytes(r.peakBytes) },
  { title: 'peak / (w + c)', cell: (r) => r.peakRatio.toFixed(3) },
];

async function main(): Promise<void> {
  const methods = parseMethods(values.method, values.bits, values['group-size']);
  const int8Head = values['lm-head'] === 'int8';
  if (values['lm-head'] !== undefined && !int8Head) throw new Error('--lm-head takes int8');
  const probe = Device.open(values.device as DeviceName);
  const { name } = probe;
  probe.dispose();
  const results: Result[] = [];
  for (const config of values.config.split(',')) {
    const own: Result[] = [];
    for (const method of methods) {
      const heads =
        method.kind === 'bitnet' && int8Head ? [undefined, 'int8' as const] : [undefined];
      for (const head of heads) {
        const result = await measure(config, method, head, peaksOf(name));
        own.push({ ...result, ratio: result.tokensPerSecond / (own[0] ?? result).tokensPerSecond });
      }
    }
    results.push(...own);
  }
  if (values.json) {
    console.log(JSON.stringify({ ...values, device: name, results }, null, 1));
    return;
  }
  console.log(`${name}, prompt ${counts.prompt}, ${counts.fresh} new tokens\n`);
  console.log(markdownTable(COLUMNS, results));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
