// Prints the windows of a data set as JSON: node -r typescript.js windows.ts DATASET SAMPLES SEQLEN.
// A process of its own, since the parquet reader is an ES module, which Jest does not load.
import { calibrationWindows } from '../../../lib/calibration';
import { AutoTokenizer } from '../../../lib/checkpoint/tokenizer';
import type { FewbitError } from '../../../lib/errors';
import { sampleFolder } from '../../support/golden';

const [dataset = '', samples, seqlen] = process.argv.slice(2);

calibrationWindows(dataset, () => AutoTokenizer.fromPretrained(sampleFolder('sample-llama')), {
  samples: Number(samples),
  seqlen: Number(seqlen),
  seed: 0,
}).then(
  (result) => process.stdout.write(JSON.stringify(result)),
  (error: FewbitError) =>
    process.stdout.write(JSON.stringify({ code: error.code, message: error.message })),
);
