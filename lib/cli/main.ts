#!/usr/bin/env node
import { contextFactory } from './context';
import { interruptSignal } from './interrupt';
import { buildProgram } from './program';
import { reportError } from './report-error';

// A reader that has seen enough (`fewbit generate ... | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

const wantsJson = process.argv.includes('--json');

buildProgram(contextFactory(interruptSignal()))
  .parseAsync()
  .catch((error: unknown) => {
    process.exitCode = reportError(error, wantsJson);
  });
