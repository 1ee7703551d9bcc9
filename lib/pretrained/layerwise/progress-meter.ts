import type { Plan, Target } from './plan';
import type { LayerReport, OnLayerwiseProgress } from './progress';
import type { FinishedStage } from './work-folder';

/** Damping comes back rounded to fp32. */
const DAMP_TOLERANCE = 1e-6;

/** What the meter knows of a method. */
interface MeteredRecipe {
  /** Whether it needs windows. */
  readonly calibrates: boolean;
  /** Damping of Hessians that was asked for. */
  readonly damp: number;
}

/** Counts what is done, estimates what is left, and tells whoever listens. */
export class ProgressMeter {
  readonly #onProgress: OnLayerwiseProgress | undefined;
  readonly #recipe: MeteredRecipe;
  readonly #total: number;
  /** When the work began that this process has to do. */
  #start = performance.now();
  #done: number;
  /** Weights to quantize, and those quantized by this process. */
  #left: number;
  #worked = 0;
  /** Seconds a weight, by the stages behind; 0 in the first, which can only be guessed at. */
  #rate = 0;

  constructor(
    recipe: MeteredRecipe,
    { stages }: Plan,
    finished: readonly (FinishedStage | undefined)[],
    onProgress: OnLayerwiseProgress | undefined,
  ) {
    this.#recipe = recipe;
    this.#onProgress = onProgress;
    const targets = stages.map((stage) => [...stage.targets.values()]);
    const open = targets.filter((_, i) => !finished[i]).flat();
    this.#total = targets.flat().length;
    this.#done = this.#total - open.length;
    this.#left = open.reduce((sum, { parameters }) => sum + parameters, 0);
    if (this.#done > 0) {
      this.#notice(`going on after ${this.#done} of ${this.#total} layers that are finished`);
    }
  }

  onWindow(at: string, done: number, total: number): void {
    this.#onProgress?.({ phase: 'calibrate', at, done, total });
  }

  onLayer({ parameters }: Target, report: LayerReport): void {
    this.#done++;
    this.#left -= parameters;
    this.#worked += parameters;
    const eta = (this.#rate || this.#pace()) * this.#left;
    this.#onProgress?.({ phase: 'layer', done: this.#done, total: this.#total, eta, ...report });
    const { name, damp } = report;
    if (!this.#recipe.calibrates) return;
    if (damp < 0) {
      this.#notice(
        `${name} is rounded to nearest: its calibration inputs are unusable (not finite, or no ` +
          'damping below 1 makes their Hessian positive definite)',
      );
    } else if (damp > this.#recipe.damp + DAMP_TOLERANCE) {
      this.#notice(`${name} needed damping of ${damp.toFixed(3)}`);
    }
  }

  /** A stage is behind, with all that it took. */
  onStage(): void {
    if (this.#worked > 0) this.#rate = this.#pace();
    else this.#start = performance.now();
  }

  #pace(): number {
    return (performance.now() - this.#start) / 1000 / Math.max(1, this.#worked);
  }

  #notice(message: string): void {
    this.#onProgress?.({ phase: 'notice', message });
  }
}
