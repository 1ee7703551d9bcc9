// Checks the format of src/ and cuda/ with clang-format; `--fix` rewrites the files. Says so and
// succeeds when clang-format is not installed.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { findProgram, root, say } from './setup/tools.mjs';

const { sources } = createRequire(import.meta.url)('./sources.js');
const program = findProgram('clang-format-14') ?? findProgram('clang-format');
if (program === undefined) {
  say('clang-format is not installed: the format of src/ and cuda/ was not checked');
} else {
  const files = ['src', 'cuda'].flatMap((folder) => sources(folder, ['.cpp', '.h', '.cu', '.cuh']));
  const mode = process.argv.includes('--fix') ? ['-i'] : ['--dry-run', '-Werror'];
  const { status } = spawnSync(program, [...mode, ...files], { cwd: root, stdio: 'inherit' });
  process.exitCode = status ?? 1;
}
