import { mkdtempSync, readFileSync } from 'node:fs';
import { AutoModelForCausalLM, AutoTokenizer, openCheckpoint } from '../lib';
import { quantizeGptq } from '../lib/pretrained/quantize-gptq';
import { saveGptq } from '../lib/pretrained/save-gptq';
import { GptqConfig, type GptqOptions } from '../lib/quant/gptq/config';
import { samplePerplexity } from './models/golden-models';
import { heldoutWindows, sampleFolder } from './support/golden';

const { perplexity } = require('../lib/eval/perplexity') as typeof import('../lib/eval/perplexity');
const out: string[] = [];
afterAll(() => process.stderr.write(`\n${out.join('\n')}\n`));
test.each(['sample-llama', 'sample-opt'])('%s', async (name) => {
  const folder = sampleFolder(name);
  const checkpoint = await openCheckpoint(folder);
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  const text = readFileSync('/work/shared/data/text/calibration.txt', 'utf8');
  const ids = tokenizer.encode(text.slice(0, 300000));
  const windows = Array.from({ length: 64 }, (_, i) => Array.from(ids).slice(i * 512, i * 512 + 512)).filter((w) => w.length === 512);
  const heldout = heldoutWindows(32).flat();
  const runs: GptqOptions[] = JSON.parse(process.env.RUNS ?? '[{"bits":4}]');
  for (const options of runs) {
    const start = performance.now();
    await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
    const config = new GptqConfig(options);
    const layers = options.mse === 99 ? new Map() : await quantizeGptq(model.transformer, windows, config);
    const seconds = (performance.now() - start) / 1000;
    const ppl = (await perplexity(model, heldout, {})).perplexity;
    const target = mkdtempSync('/tmp/gptq/out-');
    await saveGptq({ transformer: model.transformer, checkpoint }, layers, config, target);
    await using again = await AutoModelForCausalLM.fromPretrained(target, { device: 'cpu' });
    const reloaded = (await perplexity(again, heldout, {})).perplexity;
    out.push(`${name} windows ${windows.length} ${JSON.stringify(options)} ppl ${ppl.toFixed(4)} reloaded ${reloaded.toFixed(4)} layers ${layers.size} ${seconds.toFixed(1)} s`);
  }
}, 600000);
