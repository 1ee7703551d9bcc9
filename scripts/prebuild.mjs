// Fills prebuilds/<platform>-<arch> with what `npm pack` ships: the addon (named after the C library
// it needs) and libfewbit_cuda.so, both stripped. prebuildify moves and strips what it is given, so
// it works on copies in build/prebuild and the checkout's own build stays as it is.
//
//   node scripts/prebuild.mjs             builds first, for all GPUs (or FEWBIT_CUDA_ARCHS)
//   node scripts/prebuild.mjs --as-built  takes what build/Release holds
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root, run, say } from './setup/tools.mjs';

const prebuildify = promisify(createRequire(import.meta.url)('prebuildify'));
const stage = join(root, 'build', 'prebuild');

if (!process.argv.includes('--as-built')) {
  const env = { ...process.env, FEWBIT_CUDA_ARCHS: process.env.FEWBIT_CUDA_ARCHS || 'all' };
  await run(process.execPath, ['scripts/setup.mjs'], { env });
}

for (const folder of [stage, join(root, 'prebuilds')]) {
  rmSync(folder, { recursive: true, force: true });
}
mkdirSync(stage, { recursive: true });
writeFileSync(join(stage, 'package.json'), JSON.stringify({ name: 'fewbit' }));

await prebuildify({
  cwd: stage,
  out: root,
  napi: true,
  strip: true,
  tagLibc: true,
  nodeGyp: join(root, 'scripts', 'prebuild-addon.sh'),
});

const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
for (const file of readdirSync(folder)) {
  const megabytes = statSync(join(folder, file)).size / 1e6;
  say(`prebuilds: ${file} ${megabytes.toFixed(1)} MB`);
}
