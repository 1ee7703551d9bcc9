// Runs the tests of test/gpu, and fails when no GPU can be used. Further arguments go to Jest.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const addon = createRequire(import.meta.url)('node-gyp-build')(root);
const { devices, reason } = addon.doctor().cuda;
if (reason !== undefined || devices.length === 0) {
  console.error(`test:gpu: no usable GPU: ${reason ?? 'no CUDA device'}`);
  process.exit(1);
}
const jest = join(root, 'node_modules', 'jest', 'bin', 'jest.js');
const args = [jest, '--testPathPatterns', '/test/gpu/', ...process.argv.slice(2)];
process.exit(spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status ?? 1);
