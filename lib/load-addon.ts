import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import nodeGypBuild from 'node-gyp-build';
import { FewbitError } from './errors';

/** Both `lib` and `dist` lie directly below it. */
const packageRoot = join(__dirname, '..');

/**
 * Loads the native addon: the file or package folder that `FEWBIT_PREBUILD` names, else
 * `build/Release` of this package (a source build), else `prebuilds/<platform>-<arch>`.
 *
 * @throws FewbitError `ERR_FEWBIT_ADDON`, which lists what was tried, why it failed and the command
 * that compiles the addon.
 */
export function loadAddon(root: string = packageRoot): unknown {
  const override = process.env.FEWBIT_PREBUILD;
  const place = override ? resolve(override) : root;
  let file: string;
  try {
    file = place.endsWith('.node') ? place : nodeGypBuild.resolve(place);
  } catch {
    throw loadError(root, attempts(place));
  }
  try {
    return require(file);
  } catch (cause) {
    const reason = existsSync(file) ? messageOf(cause) : 'no such file';
    throw loadError(root, [`${file}: ${reason}`], cause);
  }
}

/** One line for each folder that was searched, with what is in it instead of a fitting addon. */
function attempts(place: string): string[] {
  const prebuilds = join(place, 'prebuilds', `${process.platform}-${process.arch}`);
  return [join(place, 'build', 'Release'), join(place, 'build', 'Debug'), prebuilds].map(
    (folder) => {
      if (!existsSync(folder)) return `${folder}: no such folder`;
      const addons = readdirSync(folder).filter((name) => name.endsWith('.node'));
      if (addons.length === 0) return `${folder}: no .node file`;
      return `${folder}: ${addons.join(', ')}, not for this C library`;
    },
  );
}

function loadError(root: string, tried: string[], cause?: unknown): FewbitError {
  const override = process.env.FEWBIT_PREBUILD;
  const message = [
    `The native addon of fewbit could not be loaded on ${platform()}.`,
    ...(override ? [`FEWBIT_PREBUILD is ${override}: nothing else was tried.`] : []),
    'Tried:',
    ...tried.map((line) => `  ${line}`),
    'Compile it (g++ 11 or newer, make and python3 needed):',
    `  ${compileCommand(root)}`,
    ...(override ? ['or unset FEWBIT_PREBUILD.'] : []),
  ].join('\n');
  return new FewbitError('ERR_FEWBIT_ADDON', message, { cause });
}

function compileCommand(root: string): string {
  if (existsSync(join(root, 'scripts', 'setup.mjs'))) {
    return `node ${join(root, 'scripts', 'setup.mjs')}`;
  }
  return `npx node-gyp@12 rebuild --directory "${root}"`;
}

/** For example `linux-x64, glibc 2.36, Node.js 20.20.2 (Node-API 9)`. */
function platform(): string {
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  const glibc = report.header?.glibcVersionRuntime;
  const libc = glibc ? `glibc ${glibc}` : 'no glibc (musl?)';
  const { node, napi } = process.versions;
  return `${process.platform}-${process.arch}, ${libc}, Node.js ${node} (Node-API ${napi})`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
