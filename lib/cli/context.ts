import type { OutputOptions } from './options/model-options';
import { Output } from './output/output';

/** What a command works with besides its own options. */
export interface Context {
  readonly output: Output;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Makes the context of a command from its options. */
export type ContextFactory = (options: OutputOptions) => Context;

export function contextFactory(signal: AbortSignal): ContextFactory {
  return (options) => ({ output: new Output(options), signal });
}
