import type { Checkpoint } from '../../checkpoint/checkpoint';
import type { JsonObject } from '../../checkpoint/json';
import type { Transformer } from '../../models/transformer';
import type { QuantizationMethod } from '../../quant/method';
import type { Calibration } from './calibration';
import type { Plan, Stage } from './plan';
import type { OnLayerwiseProgress } from './progress';
import type { ProgressMeter } from './progress-meter';
import type { FinishedStage, WorkFolder } from './work-folder';

/** What one quantization works on. */
export interface LayerwiseJob {
  readonly checkpoint: Checkpoint;
  /** The original model. Its layers are loaded, used and disposed one after the other. */
  readonly model: Transformer;
  readonly plan: Plan;
  /** Token ids to calibrate with; none when the recipe does not calibrate. */
  readonly windows: readonly (readonly number[])[];
  readonly work: WorkFolder;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnLayerwiseProgress | undefined;
}

/** Quantizes one stage of a plan and writes it. */
export interface StageQuantizer {
  /** @param calibration windows at the beginning of the stage; undefined when there are none */
  quantize(calibration: Calibration | undefined): Promise<FinishedStage>;
}

/** What sets apart the methods that quantize a model layer by layer, from calibration windows. */
export interface Recipe {
  /** Its name, as messages say it. */
  readonly title: string;
  /** Raised when the same settings give other files than before. */
  readonly version: number;
  /** All settings. */
  readonly settings: JsonObject;
  /** Whether it needs windows. */
  readonly calibrates: boolean;
  /** Damping of Hessians that was asked for. */
  readonly damp: number;
  /**
   * @param longest calibration window, in tokens; 0 without any
   * @throws UnsupportedError or OptionsError when the model cannot be quantized so
   */
  plan(model: Transformer, longest: number): Plan;
  stage(job: LayerwiseJob, meter: ProgressMeter, stage: Stage): StageQuantizer;
  /** What runs the layers that were written. */
  methods(plan: Plan): readonly QuantizationMethod[];
  /** Files of the result besides those that every checkpoint has, by name. */
  files(plan: Plan): Readonly<Record<string, JsonObject>>;
}
