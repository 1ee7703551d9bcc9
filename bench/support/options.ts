import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { type ParseArgsConfig, parseArgs } from 'node:util';

type Options = NonNullable<ParseArgsConfig['options']>;
type Values<T extends Options> = ReturnType<typeof parseArgs<{ options: T }>>['values'];

/** What the comment at the beginning of a script says. */
function usageOf(script: string): string {
  const comment = readFileSync(script, 'utf8').match(/\/\*\*\n(.*?)\n? *\*\//s)?.[1] ?? '';
  return comment.replace(/^ \* ?/gm, '');
}

/**
 * The options that a script was called with, as `parseArgs` has them. `--help` prints the script's first
 * comment; what is no option of the script, or lacks a value, ends it before anything is measured.
 */
export function parseOptions<T extends Options>(options: T): Values<T> {
  const script = process.argv[1] as string;
  if (process.argv.includes('--help')) {
    console.log(usageOf(script));
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values as Values<T>;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!code?.startsWith('ERR_PARSE_ARGS_')) throw error;
    console.error(`${message}\nThe options: node ${relative('', script)} --help`);
    process.exit(2);
  }
}

/** The value of an option that takes one of a few; throws on any other. */
export function oneOf<T extends string>(option: string, value: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value);
  if (found) return found;
  throw new Error(`--${option} takes ${choices.join(', ')}, got '${value}'`);
}
