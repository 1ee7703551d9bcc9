// The native build: cmake-js configures build/ when an option or a tool changed, then CMake builds
// what is out of date. Ninja (or make) decides that, CUDA sources included.
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { cudaOptions } from './cuda.mjs';
import { checkCompiler, findProgram, readJson, root, run, say, step } from './tools.mjs';

const build = join(root, 'build');
const addon = join(build, 'Release', 'fewbit.node');
const stamp = join(build, 'configured.json');

// What CMake and Ninja print on every run.
const chatter =
  /^-- (?!CUDA)|^Not searching for unused|Re-checking globbed|Re-running CMake|no work to do|Built target|^$/;

/** All that the configuration of the build folder depends on, as text. */
function configuration() {
  const { options, note } = cudaOptions();
  const tools = ['cmake', 'ninja', 'nvcc'].map((name) => findProgram(name) ?? null);
  const environment = [process.env.CXX, process.env.CUDA_HOME, process.env.CUDA_PATH];
  const { version } = readJson(join(root, 'node_modules', 'cmake-js', 'package.json'));
  return { options, note, text: JSON.stringify({ root, options, tools, environment, version }) };
}

function configured(text) {
  const done = existsSync(join(build, 'CMakeCache.txt')) && existsSync(stamp);
  return done && readFileSync(stamp, 'utf8') === text;
}

async function configure({ options, note, text }) {
  if (note && findProgram('nvcc')) say(note);
  // CMake refuses a cache of another folder or generator, and keeps options that are no longer
  // given; the objects of unchanged commands survive.
  rmSync(join(build, 'CMakeCache.txt'), { force: true });
  const cmakeJs = join(root, 'node_modules', 'cmake-js', 'bin', 'cmake-js');
  const defines = Object.entries(options).map(([name, value]) => `--CD${name}=${value}`);
  await run(process.execPath, [cmakeJs, 'configure', '--log-level', 'error', ...defines], {
    quiet: chatter,
  });
  writeFileSync(stamp, text);
}

function timeOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}

export async function buildNative() {
  await step('native build', async () => {
    checkCompiler();
    const wanted = configuration();
    if (!configured(wanted.text)) await configure(wanted);
    const libraries = [addon, join(build, 'Release', 'libfewbit_cuda.so')];
    const before = libraries.map(timeOf);
    const jobs = String(availableParallelism());
    await run('cmake', ['--build', build, '--config', 'Release', '--parallel', jobs], {
      quiet: chatter,
    });
    const changed = libraries.some((path, index) => timeOf(path) !== before[index]);
    return changed ? 'done' : 'up to date';
  });
}
