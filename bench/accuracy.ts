/**
 * What few bits cost: perplexity and bytes of a model in 16 bits, rounded to nearest, and quantized by
 * GPTQ, with and without act-order.
 *
 *   node dist/bench/accuracy.js [--model samples/sample-opt,samples/sample-llama] [--bits 8,4,3,2]
 *     [--group-size=128,-1] [--method rtn,gptq,act-order] [--asym] [--mse 2.4]
 *     [--calibration FILE|wikitext2|c4|ptb] [--samples 128] [--seqlen 512] [--seed 0]
 *     [--ids FILE] [--windows N] [--device auto] [--json]
 *
 * `rtn` rounds on the grid that spans all weights of a group, `gptq` and `act-order` on the grid that a
 * search with the exponent `--mse` finds (0: none), `rtn-mse` rounds on that of the search, too.
 * Symmetric zero points unless `--asym`. Perplexity is that of windows of 512 held-out ids.
 */
import { basename } from 'node:path';
import { AutoModelForCausalLM, perplexity } from 'fewbit';
import { ACCURACY_OPTIONS, accuracySetup, WINDOW } from './support/accuracy-options';
import { type Variant, variantsOf } from './support/gptq-variants';
import { parseOptions } from './support/options';
import { withQuantizedCopy } from './support/quantized-copy';
import { checkSamples, progress, readIds, signedPercent } from './support/sample-files';
import { type Column, markdownTable } from './support/table';

interface Result extends Partial<Variant> {
  model: string;
  method: string;
  perplexity: number;
  /** Share of the 16-bit perplexity that is added. */
  loss: number;
  weightBytes: number;
  /** Weight bytes of the 16-bit model over these. */
  compression: number;
  quantizeSeconds: number;
}

const values = parseOptions({
  ...ACCURACY_OPTIONS,
  bits: { type: 'string', default: '8,4,3,2' },
  'group-size': { type: 'string', default: '128' },
  method: { type: 'string', default: 'rtn,gptq,act-order' },
  asym: { type: 'boolean', default: false },
  mse: { type: 'string', default: '2.4' },
});

const { device, limit, calibration } = accuracySetup(values);

/** What has been done. */
function done({ model, bits, method, perplexity: value }: Result): void {
  progress('');
  const width = bits ? `, ${bits} bits` : '';
  process.stderr.write(`${model}${width}, ${method}: perplexity ${value.toFixed(3)}\n`);
}

/** Perplexity and bytes of the model in a folder, as it is stored there. */
async function measure(
  folder: string,
  ids: Uint16Array,
): Promise<Pick<Result, 'perplexity' | 'weightBytes'>> {
  await using model = await AutoModelForCausalLM.fromPretrained(folder, {
    device,
    maxContext: WINDOW,
  });
  const { perplexity: value } = await perplexity(model, ids, {
    window: WINDOW,
    limit,
  });
  return { perplexity: value, weightBytes: model.transformer.bytes };
}

async function evaluate(model: string, variants: Variant[], ids: Uint16Array): Promise<Result[]> {
  const name = basename(model);
  const base = await measure(model, ids);
  const result = (own: typeof base, method: string, quantizeSeconds: number): Result => ({
    model: name,
    method,
    ...own,
    loss: own.perplexity / base.perplexity - 1,
    compression: base.weightBytes / own.weightBytes,
    quantizeSeconds,
  });
  const results = [result(base, '16-bit', 0)];
  done(results[0] as Result);
  for (const [i, { method, options, ...shape }] of variants.entries()) {
    const title = `${name}, ${i + 1} of ${variants.length}: ${shape.bits} bits, ${method}`;
    const onLayer = (done: number, total: number): void =>
      progress(`${title}, layer ${done} of ${total}`);
    const row = await withQuantizedCopy(
      model,
      { method: 'gptq', ...options },
      { calibration, device, onLayer },
      async (folder, seconds) => {
        progress(`${title}, evaluation`);
        return { ...result(await measure(folder, ids), method, seconds), ...shape };
      },
    );
    results.push(row);
    done(row);
  }
  return results;
}

const COLUMNS: Column<Result>[] = [
  { title: 'model', cell: (r) => r.model },
  { title: 'bits', cell: (r) => String(r.bits ?? 16) },
  { title: 'group', cell: (r) => (r.groupSize === -1 ? 'row' : String(r.groupSize ?? '-')) },
  { title: 'method', cell: (r) => r.method },
  { title: 'perplexity', cell: (r) => r.perplexity.toFixed(3) },
  { title: 'change', cell: (r) => (r.bits ? signedPercent(r.loss) : '') },
  { title: 'weights MB', cell: (r) => (r.weightBytes / 1e6).toFixed(2) },
  { title: '16-bit / weights', cell: (r) => r.compression.toFixed(2) },
];

async function main(): Promise<void> {
  checkSamples([...values.model.split(','), values.calibration, values.ids]);
  const mse = Number(values.mse);
  const variants = variantsOf({
    bits: values.bits,
    groupSizes: values['group-size'],
    methods: values.method,
    sym: !values.asym,
    mse,
  });
  const ids = await readIds(values.ids);
  const results: Result[] = [];
  for (const model of values.model.split(','))
    results.push(...(await evaluate(model, variants, ids)));
  if (values.json) {
    console.log(JSON.stringify({ ...values, results }, null, 1));
    return;
  }
  const zeros = values.asym ? 'asymmetric' : 'symmetric';
  const search = mse > 0 ? `range search with exponent ${mse}` : 'no range search';
  const { samples, seqlen } = calibration;
  console.log(`${zeros}, ${search}, calibrated on ${samples} windows of ${seqlen} ids\n`);
  console.log(markdownTable(COLUMNS, results));
}

main().catch((error: unknown) => {
  progress('');
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
