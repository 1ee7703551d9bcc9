import { CommanderError } from 'commander';
import { FewbitError, OptionsError } from '../errors';
import { Interrupted } from './interrupt';
import { toJson } from './output/output';

const EXIT_ERROR = 1;
const EXIT_USAGE = 2;

/**
 * Prints an error as one line on stderr, or as JSON on stdout.
 * @returns the exit code: 1 for an error, 2 for wrong arguments, 130 after Ctrl-C
 */
export function reportError(error: unknown, json: boolean): number {
  // Help and version end in such an "error" too.
  if (error instanceof CommanderError && error.exitCode === 0) return 0;
  const { code, message } = describe(error);
  if (json) process.stdout.write(`${toJson({ error: { code, message } })}\n`);
  else process.stderr.write(`fewbit: ${code}: ${message}\n`);
  if (process.env.FEWBIT_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return exitCode(error);
}

function describe(error: unknown): { code: string; message: string } {
  if (error instanceof CommanderError) {
    const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
    return { code: 'ERR_FEWBIT_USAGE', message: `${message} (see --help)` };
  }
  if (error instanceof FewbitError) return { code: error.code, message: error.message };
  const { code, message } = error as NodeJS.ErrnoException;
  return { code: code ?? 'ERR_FEWBIT_UNEXPECTED', message: message ?? String(error) };
}

function exitCode(error: unknown): number {
  if (error instanceof Interrupted) return error.exitCode;
  if (error instanceof CommanderError || error instanceof OptionsError) return EXIT_USAGE;
  return EXIT_ERROR;
}
