import type { Program } from '../device';

/** Programs by name, recorded when they are first needed. */
export class Programs {
  readonly #programs = new Map<string, Program>();

  get(name: string, record: () => Program): Program {
    let program = this.#programs.get(name);
    if (!program) {
      program = record();
      this.#programs.set(name, program);
    }
    return program;
  }

  dispose(): void {
    for (const program of this.#programs.values()) program.dispose();
    this.#programs.clear();
  }
}
