import { CheckpointSource } from '../../models/sources';
import { Transformer } from '../../models/transformer';
import { Calibration } from './calibration';
import { layerModules, outerModules, withLoaded } from './model-parts';
import type { Stage } from './plan';
import { ProgressMeter } from './progress-meter';
import type { LayerwiseJob, Recipe } from './recipe';
import type { FinishedStage } from './work-folder';

/**
 * Quantizes the stages of a plan that are not on disk yet, each calibrated with all before it
 * quantized, and writes each as soon as it is done.
 * @throws the signal's reason when aborted; the stages written stay
 */
export async function quantizeStages(recipe: Recipe, job: LayerwiseJob): Promise<FinishedStage[]> {
  const { plan, work, model, windows, signal } = job;
  const finished = await Promise.all(plan.stages.map((stage) => work.finished(stage)));
  const lastOpen = finished.lastIndexOf(undefined);
  const meter = new ProgressMeter(recipe, plan, finished, job.onProgress);
  if (lastOpen < 0) return finished as FinishedStage[];
  if (!recipe.calibrates) {
    for (const [i, stage] of plan.stages.entries()) {
      finished[i] ??= await recipe.stage(job, meter, stage).quantize(undefined);
    }
    return finished as FinishedStage[];
  }
  const onWindow = meter.onWindow.bind(meter);
  using calibration = new Calibration(model, windows, { signal, onWindow });
  model.prepare();
  await withLoaded(outerModules(model), () => calibration.embed(model));
  for (const [i, stage] of plan.stages.slice(0, lastOpen + 1).entries()) {
    const done = finished[i] ?? (await recipe.stage(job, meter, stage).quantize(calibration));
    finished[i] = done;
    if (i < lastOpen) await advance(recipe, job, calibration, stage, done);
    meter.onStage();
  }
  return finished as FinishedStage[];
}

/**
 * Takes the windows past a layer with the weights that were written for it: what follows is
 * calibrated with what will run, whether or not the process has been restarted since.
 */
async function advance(
  recipe: Recipe,
  { checkpoint, model, plan, windows }: LayerwiseJob,
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
    methods: recipe.methods(plan),
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
