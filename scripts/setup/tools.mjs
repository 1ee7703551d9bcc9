// What the setup steps share: finding programs, running them, saying what goes on.
import { spawn } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** A failure whose message tells the user what to do: printed without a stack. */
export class SetupError extends Error {}

export function say(text) {
  console.error(`setup: ${text}`);
}

export function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** The full path of a program in PATH, or undefined. */
export function findProgram(name) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // not in this folder
    }
  }
  return undefined;
}

export function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 17)) return;
  throw new SetupError(
    `Node.js ${process.versions.node} is too old: fewbit needs 20.17 or newer (https://nodejs.org)`,
  );
}

/** The programs that a source build needs; the message names all that are missing at once. */
export function checkCompiler() {
  const cxx = process.env.CXX ?? 'g++';
  const missing = [];
  if (!findProgram(cxx.split(' ')[0])) missing.push(`${cxx} (a C++20 compiler, g++ 11 or newer)`);
  if (!findProgram('cmake')) missing.push('cmake (3.20 or newer)');
  if (!findProgram('ninja') && !findProgram('make')) missing.push('ninja or make');
  if (missing.length === 0) return;
  throw new SetupError(
    `the native build needs ${missing.join(', ')}, not found in PATH.\n` +
      'On Debian or Ubuntu: sudo apt-get install g++ cmake ninja-build',
  );
}

/**
 * Runs a program in the checkout and passes its output lines on to stderr, but those that `quiet`
 * matches. Rejects with a SetupError when it fails.
 */
export async function run(command, args, { env = process.env, quiet } = {}) {
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (!quiet?.test(line)) console.error(line);
    });
  }
  const [code, signal] = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (...result) => resolve(result));
  });
  if (code === 0) return;
  throw new SetupError(
    `${[command, ...args].join(' ')}\n  ended with ${signal ?? `code ${code}`}; its output is above`,
  );
}

/** Runs a step and says how long it took, or that there was nothing to do. */
export async function step(name, work) {
  const start = performance.now();
  const outcome = await work();
  say(`${name}: ${outcome} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}
