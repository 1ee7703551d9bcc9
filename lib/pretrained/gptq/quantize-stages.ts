import type { Checkpoint } from '../../checkpoint/checkpoint';
import { CheckpointSource } from '../../models/sources';
import { Transformer } from '../../models/transformer';
import { GptqMethod } from '../../quant/gptq';
import type { GptqConfig } from '../../quant/gptq/config';
import { Calibration } from './calibration';
import { layerModules, outerModules, withLoaded } from './model-parts';
import type { GptqPlan, Stage } from './plan';
import type { OnGptqProgress } from './progress';
import { ProgressMeter } from './progress-meter';
import { StageQuantizer } from './stage-quantizer';
import type { FinishedStage, WorkFolder } from './work-folder';

export interface GptqJob {
  readonly checkpoint: Checkpoint;
  /** The original model. Its layers are loaded, used and disposed one after the other. */
  readonly model: Transformer;
  readonly config: GptqConfig;
  readonly plan: GptqPlan;
  /** Token ids to calibrate with; not used when `config.roundToNearest`. */
  readonly windows: readonly (readonly number[])[];
  readonly work: WorkFolder;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnGptqProgress | undefined;
}

/**
 * Quantizes the stages of a plan that are not on disk yet by GPTQ (arXiv 2210.17323), each
 * calibrated with all before it quantized, and writes each as soon as it is done.
 * @throws the signal's reason when aborted; the stages written stay
 */
export async function quantizeStages(job: GptqJob): Promise<FinishedStage[]> {
  const { plan, work, model, config, windows, signal } = job;
  const finished = await Promise.all(plan.stages.map((stage) => work.finished(stage)));
  const lastOpen = finished.lastIndexOf(undefined);
  const meter = new ProgressMeter(plan, finished, job.onProgress);
  if (lastOpen < 0) return finished as FinishedStage[];
  if (config.roundToNearest) {
    for (const [i, stage] of plan.stages.entries()) {
      finished[i] ??= await new StageQuantizer(job, meter, stage).round();
    }
    return finished as FinishedStage[];
  }
  const onWindow = meter.onWindow.bind(meter);
  using calibration = new Calibration(model, windows, { signal, onWindow });
  model.prepare();
  await withLoaded(outerModules(model), () => calibration.embed(model));
  for (const [i, stage] of plan.stages.slice(0, lastOpen + 1).entries()) {
    const done =
      finished[i] ?? (await new StageQuantizer(job, meter, stage).calibrate(calibration));
    finished[i] = done;
    if (i < lastOpen) await advance(job, calibration, stage, done);
    meter.onStage();
  }
  return finished as FinishedStage[];
}

/**
 * Takes the windows past a layer with the weights that were written for it: what follows is
 * calibrated with what will run, whether or not the process has been restarted since.
 */
async function advance(
  { checkpoint, model, plan, windows }: GptqJob,
  calibration: Calibration,
  { layer }: Stage,
  { file }: FinishedStage,
): Promise<void> {
  if (layer === 'head') return;
  const { device, config, context, maxPositions } = model;
  const source = new CheckpointSource(checkpoint, file.tensors.values());
  const written = new Transformer({
    device,
    config,
    source,
    methods: [new GptqMethod(plan.diskConfig)],
    dtype: context.activations,
    maxPositions: Math.min(maxPositions, Math.max(...windows.map(({ length }) => length))),
  });
  try {
    written.prepare();
    await withLoaded(layerModules(written, layer), () => calibration.advance(written, layer));
  } finally {
    written.dispose();
    source.dispose();
  }
}
