import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const script = `console.log(JSON.stringify(require('node-gyp-build')(process.cwd()).doctor().cuda))`;

/**
 * Finds out once, before any test runs, whether a GPU can be used, and leaves the answer in the
 * environment for `describeGpu` and the reporter: `FEWBIT_TEST_GPU` is the device's name, or
 * `FEWBIT_TEST_NO_GPU` the reason. A child process asks, because CUDA must not be initialised in a
 * process that forks the test workers.
 */
export default function probeGpu(): void {
  const root = join(__dirname, '..', '..');
  const child = spawnSync(process.execPath, ['-e', script], { cwd: root, encoding: 'utf8' });
  if (child.status !== 0) {
    const message = child.stderr.match(/^\w*Error\b.*/m)?.[0] ?? child.stderr.trim();
    process.env.FEWBIT_TEST_NO_GPU = `the addon did not load: ${message}`;
    return;
  }
  const cuda = JSON.parse(child.stdout) as { devices: { name: string }[]; reason?: string };
  const device = cuda.devices[0];
  if (device && cuda.reason === undefined) process.env.FEWBIT_TEST_GPU = device.name;
  else process.env.FEWBIT_TEST_NO_GPU = cuda.reason ?? 'no CUDA device';
}
