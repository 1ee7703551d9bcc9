import { FewbitError } from '../errors';

/** Exit codes of processes that a signal ends, as shells give them. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** The reason of an abort by a signal. */
export class Interrupted extends FewbitError {
  readonly exitCode: number;

  constructor(signal: keyof typeof EXIT_CODES) {
    super('ERR_FEWBIT_INTERRUPTED', `interrupted by ${signal}`);
    this.exitCode = EXIT_CODES[signal];
  }
}

/**
 * An AbortSignal that Ctrl-C (or SIGTERM) aborts, so that the command can end by itself and free
 * what it holds. A second Ctrl-C ends the process at once.
 */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(EXIT_CODES[signal]);
      controller.abort(new Interrupted(signal));
    });
  }
  return controller.signal;
}
