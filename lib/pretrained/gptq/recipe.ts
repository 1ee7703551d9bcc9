import type { JsonObject } from '../../checkpoint/json';
import type { Transformer } from '../../models/transformer';
import { GptqMethod } from '../../quant/gptq';
import type { GptqConfig } from '../../quant/gptq/config';
import type { Plan, Stage } from '../layerwise/plan';
import type { ProgressMeter } from '../layerwise/progress-meter';
import type { LayerwiseJob, Recipe } from '../layerwise/recipe';
import { makePlan } from './plan';
import { GptqStage } from './stage';

/** GPTQ (arXiv 2210.17323), or rounding to nearest. */
export class GptqRecipe implements Recipe {
  readonly title = 'GPTQ';
  readonly version = 1;
  readonly settings: JsonObject;
  readonly calibrates: boolean;
  readonly damp: number;
  readonly #config: GptqConfig;

  constructor(config: GptqConfig) {
    this.#config = config;
    this.settings = config.toJSON();
    this.calibrates = !config.roundToNearest;
    this.damp = config.damp;
  }

  plan(model: Transformer): Plan {
    return makePlan(model, this.#config);
  }

  stage(job: LayerwiseJob, meter: ProgressMeter, stage: Stage): GptqStage {
    return new GptqStage(job, meter, stage, this.#config);
  }

  methods({ diskConfig }: Plan): GptqMethod[] {
    return [new GptqMethod(diskConfig)];
  }

  /** Programs of the AutoGPTQ family look here first. */
  files({ diskConfig }: Plan): Record<string, JsonObject> {
    return { 'quantize_config.json': diskConfig };
  }
}
