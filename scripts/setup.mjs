#!/usr/bin/env node
// Brings a checkout up to date: npm packages, native build, TypeScript build. Each step is skipped
// when nothing changed, so it runs before every `npm test` and `npm run demo`.
//
//   node scripts/setup.mjs            everything
//   node scripts/setup.mjs --native   only the packages and the native build
//
// FEWBIT_CUDA=ON|OFF|AUTO and FEWBIT_CUDA_ARCHS="90a;120" or "all" choose what is compiled for the
// GPU; without them it is what scripts/setup/cuda.mjs decides. FEWBIT_CUDA_FAST_COMPILE=1 compiles it in a
// quarter of the time, into slow code: where no GPU will run it.
import { withLock } from './setup/lock.mjs';
import { buildNative } from './setup/native.mjs';
import { installPackages } from './setup/packages.mjs';
import { checkNode, SetupError } from './setup/tools.mjs';
import { buildTypeScript } from './setup/typescript.mjs';

const onlyNative = process.argv.includes('--native');

try {
  checkNode();
  await withLock(async () => {
    await installPackages();
    await buildNative();
    if (!onlyNative) await buildTypeScript();
  });
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`\nsetup: ${error.message}`);
  process.exitCode = 1;
}
