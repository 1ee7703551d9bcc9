// Quantizes: node -r typescript.js quantize.ts MODEL OUT CONFIG WINDOWS. With LAST in the environment
// it kills itself, as a crash would, when that layer is quantized and its stage not yet written.
import { quantize } from '../../../lib';

const [model = '', out = '', config = '', windows = ''] = process.argv.slice(2);

void quantize(
  model,
  { method: 'gptq', ...JSON.parse(config) },
  {
    out,
    device: 'cpu',
    dataset: JSON.parse(windows),
    onProgress: (progress) => {
      if (progress.phase === 'layer' && progress.name === process.env.LAST) {
        process.kill(process.pid, 'SIGKILL');
      }
      if (progress.phase === 'save' && process.env.LAST === 'save') {
        process.kill(process.pid, 'SIGKILL');
      }
    },
  },
).then((report) => {
  process.stdout.write(JSON.stringify(report));
});
