import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { demoCommand } from './commands/demo';
import { doctorCommand } from './commands/doctor';
import { generateCommand } from './commands/generate';
import { inspectCommand } from './commands/inspect';
import { perplexityCommand } from './commands/perplexity';
import { quantizeCommand } from './commands/quantize';
import type { ContextFactory } from './context';

const EXIT_CODES = `
Exit codes: 0 done, 1 error, 2 wrong arguments, 130 interrupted.
MODEL is a folder in Hugging Face form, or the id of a model on the hub.`;

/** The command line. It throws instead of ending the process; errors are printed by the caller. */
export function buildProgram(context: ContextFactory): Command {
  const program = new Command('fewbit')
    .description('Few-bit LLM inference: quantize, measure and run models on CUDA and on the CPU.')
    .version(version(), '--version')
    .addHelpText('after', EXIT_CODES);
  const commands = [
    generateCommand(context),
    perplexityCommand(context),
    quantizeCommand(context),
    inspectCommand(context),
    doctorCommand(context),
    demoCommand(context),
  ];
  for (const command of commands) program.addCommand(command);
  for (const command of [program, ...commands]) {
    command.exitOverride().configureOutput({ outputError: () => {} });
  }
  return program;
}

function version(): string {
  const path = join(__dirname, '..', '..', 'package.json');
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
