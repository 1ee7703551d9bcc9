import type { OutputOptions } from '../options/model-options';
import { Progress } from './progress';

/** Where a command's words go: results to stdout, progress and notes to stderr. */
export class Output {
  readonly json: boolean;
  readonly progress: Progress;
  readonly #talks: boolean;
  readonly #logs: boolean;

  constructor({ json = false, quiet = false }: OutputOptions) {
    this.json = json;
    this.#logs = !json && !quiet;
    this.#talks = !json && !quiet && process.stderr.isTTY === true;
    this.progress = new Progress(process.stderr, this.#talks);
  }

  /** Text of the result, for people; nothing with `--json`. */
  text(text: string): void {
    this.progress.clear();
    if (!this.json) process.stdout.write(text);
  }

  line(text = ''): void {
    this.text(`${text}\n`);
  }

  /** The result as one JSON document; nothing without `--json`. */
  result(value: unknown): void {
    if (this.json) process.stdout.write(`${toJson(value)}\n`);
  }

  /** A line of a long run's log, on stderr, whether or not that is a terminal. */
  log(text: string): void {
    this.progress.clear();
    if (this.#logs) process.stderr.write(`${text}\n`);
  }

  /** A remark for whoever watches a terminal. */
  note(text: string): void {
    this.progress.clear();
    if (this.#talks) process.stderr.write(`${text}\n`);
  }
}

/** JSON with seeds of 64 bits as strings and NaN or infinity refused, not turned into null. */
export function toJson(value: unknown): string {
  return JSON.stringify(
    value,
    (key, item: unknown) => {
      if (typeof item === 'bigint') return item.toString();
      if (typeof item === 'number' && !Number.isFinite(item)) {
        throw new RangeError(`${key} is ${item}, which JSON cannot express`);
      }
      return item;
    },
    2,
  );
}
