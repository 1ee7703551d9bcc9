// The TypeScript build: dist/ from lib/, and the ES module that re-exports it. Skipped while a hash
// over the sources is the one of the last build.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { root, run, step } from './tools.mjs';

const lib = join(root, 'lib');
const dist = join(root, 'dist');
const stamp = join(root, '.cache', 'typescript.hash');
const builtFiles = ['index.js', 'index.d.ts', 'index.mjs', 'index.d.mts'];

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function hashOfInputs() {
  const hash = createHash('sha256');
  const settings = ['tsconfig.json', 'tsconfig.build.json', 'scripts/esm-wrapper.mjs'];
  const compiler = join(root, 'node_modules', 'typescript', 'package.json');
  for (const file of [...settings.map((name) => join(root, name)), compiler, ...filesBelow(lib)]) {
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
    const source = join(lib, name.replace(/(\.d\.ts|\.js)$/, '.ts'));
    if (!existsSync(source)) rmSync(file);
  }
}

export async function buildTypeScript() {
  await step('TypeScript build', async () => {
    const hash = hashOfInputs();
    if (upToDate(hash)) return 'up to date';
    rmSync(stamp, { force: true });
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    await run(process.execPath, [tsc, '-p', 'tsconfig.build.json']);
    prune();
    await run(process.execPath, ['scripts/esm-wrapper.mjs']);
    mkdirSync(join(root, '.cache'), { recursive: true });
    writeFileSync(stamp, hash);
    return 'done';
  });
}
