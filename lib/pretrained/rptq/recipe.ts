import type { JsonObject } from '../../checkpoint/json';
import type { Transformer } from '../../models/transformer';
import { type RptqConfig, RptqMethod } from '../../quant/rptq';
import type { Plan, Stage } from '../layerwise/plan';
import type { ProgressMeter } from '../layerwise/progress-meter';
import type { LayerwiseJob, Recipe } from '../layerwise/recipe';
import { makePlan } from './plan';
import { RptqStage } from './stage';

/** RPTQ (arXiv 2304.01089), with weights by GPTQ. */
export class RptqRecipe implements Recipe {
  readonly title = 'RPTQ';
  readonly version = 3;
  readonly settings: JsonObject;
  readonly calibrates = true;
  readonly damp: number;
  readonly #config: RptqConfig;

  constructor(config: RptqConfig) {
    this.#config = config;
    this.settings = config.toJSON();
    this.damp = config.damp;
  }

  plan(model: Transformer, longest: number): Plan {
    return makePlan(model, this.#config, longest);
  }

  stage(job: LayerwiseJob, meter: ProgressMeter, stage: Stage): RptqStage {
    return new RptqStage(job, meter, stage, this.#config);
  }

  methods({ diskConfig }: Plan): RptqMethod[] {
    return [new RptqMethod(diskConfig)];
  }

  files(): Record<string, JsonObject> {
    return {};
  }
}
