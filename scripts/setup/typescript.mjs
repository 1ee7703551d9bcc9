// The TypeScript build: dist/ from lib/ and dist/bench from bench/, and the ES module that re-exports
// the library. Skipped while a hash
// over the sources is the one of the last build.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { root, run, step } from './tools.mjs';

const lib = join(root, 'lib');
const bench = join(root, 'bench');
const dist = join(root, 'dist');
const stamp = join(root, '.cache', 'typescript.hash');
const wrapper = join(root, 'scripts', 'esm-wrapper.mjs');
const builtFiles = ['index.js', 'index.d.ts', 'index.mjs', 'index.d.mts'];

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function hashOfInputs() {
  const hash = createHash('sha256');
  const settings = ['tsconfig.json', 'tsconfig.build.json', 'tsconfig.bench.json'];
  const compiler = join(root, 'node_modules', 'typescript', 'package.json');
  const own = settings.map((name) => join(root, name));
  for (const file of [...own, wrapper, compiler, ...filesBelow(lib), ...filesBelow(bench)]) {
    hash
      .update(`${relative(root, file)}\0`)
      .update(readFileSync(file))
      .update('\0');
  }
  return hash.digest('hex');
}

function upToDate(hash) {
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== hash) return false;
  return builtFiles.every((file) => existsSync(join(dist, file)));
}

/** Removes what earlier builds left of sources that are gone. */
function prune() {
  for (const file of filesBelow(dist)) {
    const name = relative(dist, file);
    if (builtFiles.includes(name)) continue;
    const source = name.replace(/(\.d\.ts|\.js)$/, '.ts');
    if (!existsSync(join(lib, source)) && !existsSync(join(root, source))) rmSync(file);
  }
}

export async function buildTypeScript() {
  await step('TypeScript build', async () => {
    const hash = hashOfInputs();
    if (upToDate(hash)) return 'up to date';
    rmSync(stamp, { force: true });
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    await run(process.execPath, [tsc, '-p', 'tsconfig.build.json']);
    await run(process.execPath, [wrapper]);
    await run(process.execPath, [tsc, '-p', 'tsconfig.bench.json']);
    prune();
    mkdirSync(join(root, '.cache'), { recursive: true });
    writeFileSync(stamp, hash);
    return 'done';
  });
}
