/**
 * The table of RPTQ (arXiv 2304.01089) on held-out text: perplexity of every configuration, beside 16
 * bits and beside rounding activations naively to the same bits, on models as they are and on copies
 * of them with outlier channels.
 *
 *   node dist/bench/rptq-accuracy.js [--model samples/sample-opt,samples/sample-llama]
 *     [--variant plain,outlier] [--config W4A16,W4A8,...] [--method paper,balanced,kmeans,tensor,token]
 *     [--calibration FILE|wikitext2|c4|ptb] [--samples 128] [--seqlen 512] [--seed 0]
 *     [--ids FILE] [--windows N] [--device auto] [--json]
 *
 * `balanced` and `kmeans` are RPTQ with clusters of equal and of any size, `paper` without what the paper
 * does not have. `tensor` rounds each activation onto one static grid, `token` each of its rows onto one of
 * its own (queries, keys and values: those of each head), both at the configuration's bits and on weights
 * that are quantized as for RPTQ, but for `equalize`. Perplexity is that of windows of 512 ids.
 */
import { basename } from 'node:path';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLanguageModel,
  calibrationWindows,
  naivePerplexity,
  perplexity,
  RPTQ_CONFIGS,
  type RptqConfigName,
  type RptqOptions,
  writeOutlierVariant,
} from 'fewbit';
import { ACCURACY_OPTIONS, accuracySetup, WINDOW } from './support/accuracy-options';
import { parseOptions } from './support/options';
import { withQuantizedCopy } from './support/quantized-copy';
import { checkSamples, progress, readIds, signedPercent } from './support/sample-files';
import { type Column, markdownTable } from './support/table';
import { withTemporaryFolder } from './support/temporary-folder';

type Method = keyof typeof RPTQ_METHODS | 'tensor' | 'token';

/** What sets them apart from the defaults. */
const RPTQ_METHODS = {
  paper: {
    metric: 'ema_minmax',
    cacheClusters: 4,
    keyFeedback: false,
    equalize: false,
    rotate: false,
  },
  balanced: { clusterSizes: 'balanced' },
  kmeans: {},
} as const satisfies Record<string, RptqOptions>;

interface Result {
  model: string;
  config: RptqConfigName | '16-bit';
  method?: Method;
  perplexity: number;
  /** Share of the 16-bit perplexity that is added. */
  loss: number;
}

const values = parseOptions({
  ...ACCURACY_OPTIONS,
  variant: { type: 'string', default: 'plain,outlier' },
  config: { type: 'string', default: Object.keys(RPTQ_CONFIGS).join(',') },
  method: { type: 'string', default: 'paper,balanced,kmeans,tensor,token' },
});

/** Windows that show the naive method the span of each activation. */
const NAIVE_WINDOWS = 16;
/** Whose weights the naive methods run on, by their bits; those of 16 are the model's own. */
const WEIGHTS = { 4: 'W4A16', 3: 'W3A3KV' } as const;
const { device, limit, calibration } = accuracySetup(values);
const configs = values.config.split(',') as RptqConfigName[];
const methods = values.method.split(',') as Method[];

async function withModel<T>(
  folder: string,
  use: (model: CausalLanguageModel) => Promise<T>,
): Promise<T> {
  await using model = await AutoModelForCausalLM.fromPretrained(folder, {
    device,
    maxContext: WINDOW,
  });
  return await use(model);
}

function measure(folder: string, ids: Uint16Array): Promise<number> {
  return withModel(folder, async (model) => {
    const { perplexity: value } = await perplexity(model, ids, { window: WINDOW, limit });
    return value;
  });
}

/** Runs `use` with the model's folder, or with that of a copy that has outlier channels. */
async function withVariant<T>(
  model: string,
  variant: string,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  if (variant === 'plain') return use(model);
  if (variant !== 'outlier') throw new Error(`--variant takes plain and outlier, got '${variant}'`);
  return withTemporaryFolder('outlier', async (copy) => {
    await writeOutlierVariant(model, copy);
    return use(copy);
  });
}

type Report = (config: Result['config'], perplexity: number, method?: Method) => void;

async function rptq(folder: string, ids: Uint16Array, title: string, report: Report) {
  for (const method of methods) {
    const options = method in RPTQ_METHODS && RPTQ_METHODS[method as keyof typeof RPTQ_METHODS];
    if (!options) continue;
    for (const config of configs) {
      const name = `${title}, ${config}, ${method}`;
      const onLayer = (done: number, total: number): void =>
        progress(`${name}, layer ${done} of ${total}`);
      await withQuantizedCopy(
        folder,
        { ...options, method: 'rptq', config },
        { calibration, device, onLayer },
        async (copy) => {
          progress(`${name}, evaluation`);
          report(config, await measure(copy, ids), method);
        },
      );
    }
  }
}

async function naive(folder: string, ids: Uint16Array, title: string, report: Report) {
  const wanted = methods.filter((name) => name === 'tensor' || name === 'token');
  if (wanted.length === 0) return;
  const tokenizer = () => AutoTokenizer.fromPretrained(folder);
  const { windows } = await calibrationWindows(calibration.dataset, tokenizer, calibration);
  const options = { window: WINDOW, limit, calibration: windows.slice(0, NAIVE_WINDOWS) };
  for (const bits of [16, 4, 3] as const) {
    // Those whose inputs and cache keep 16 bits round nothing.
    const rounded = configs.filter((name) => {
      const { weights, norm, cache } = RPTQ_CONFIGS[name];
      return weights === bits && (norm < 16 || cache < 16);
    });
    const measureAll = (copy: string): Promise<void> =>
      withModel(copy, async (model) => {
        for (const config of rounded) {
          for (const by of wanted) {
            progress(`${title}, ${config}, ${by}`);
            const widths = RPTQ_CONFIGS[config];
            report(config, await naivePerplexity(model, ids, { ...options, by, widths }), by);
          }
        }
      });
    if (rounded.length === 0) continue;
    if (bits === 16) {
      await measureAll(folder);
      continue;
    }
    await withQuantizedCopy(
      folder,
      { method: 'rptq', config: WEIGHTS[bits], equalize: false },
      { calibration, device, onLayer: () => progress(`${title}, weights for naive rounding`) },
      measureAll,
    );
  }
}

async function evaluate(model: string, variant: string, ids: Uint16Array): Promise<Result[]> {
  return withVariant(model, variant, async (folder) => {
    const title = `${basename(model)}${variant === 'plain' ? '' : ', outliers'}`;
    const base = await measure(folder, ids);
    const results: Result[] = [];
    const report: Report = (config, value, method) => {
      progress('');
      process.stderr.write(
        `${title}, ${config}, ${method ?? '-'}: perplexity ${value.toFixed(3)}\n`,
      );
      const loss = value / base - 1;
      results.push({
        model: title,
        config,
        ...(method ? { method } : {}),
        perplexity: value,
        loss,
      });
    };
    report('16-bit', base);
    await rptq(folder, ids, title, report);
    await naive(folder, ids, title, report);
    return results;
  });
}

const TITLES: Record<Method, string> = {
  paper: 'RPTQ, as in the paper',
  balanced: 'RPTQ, equal clusters',
  kmeans: 'RPTQ, clusters of KMeans',
  tensor: 'naive, by tensor',
  token: 'naive, by token',
};

const COLUMNS: Column<Result>[] = [
  { title: 'model', cell: (r) => r.model },
  { title: 'configuration', cell: (r) => r.config },
  { title: 'method', cell: (r) => (r.method ? TITLES[r.method] : '-') },
  { title: 'perplexity', cell: (r) => r.perplexity.toFixed(3) },
  { title: 'change', cell: (r) => (r.method ? signedPercent(r.loss) : '') },
];

async function main(): Promise<void> {
  const models = values.model.split(',');
  checkSamples([...models, values.calibration, values.ids]);
  const ids = await readIds(values.ids);
  const results: Result[] = [];
  for (const model of models) {
    for (const variant of values.variant.split(',')) {
      results.push(...(await evaluate(model, variant, ids)));
    }
  }
  if (values.json) {
    console.log(JSON.stringify({ ...values, results }, null, 1));
    return;
  }
  const { samples, seqlen } = calibration;
  console.log(`calibrated on ${samples} windows of ${seqlen} ids\n`);
  console.log(markdownTable(COLUMNS, results));
}

main().catch((error: unknown) => {
  progress('');
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
