import { join } from 'node:path';
import type { Checkpoint } from '../../checkpoint/checkpoint';
import { Device } from '../../device';
import { FewbitError, OptionsError, UnsupportedError } from '../../errors';
import { Transformer } from '../../models/transformer';
import { quantizationMethods } from '../../quant';
import { openSource } from '../auto';
import type { QuantizeOptions, QuantizeReport } from '../quantize';
import { replaceFile } from '../save';
import { assemble, moveModel } from './assemble';
import { gatherWindows, longest } from './gather-windows';
import { HiddenStates } from './hidden-states';
import type { Plan } from './plan';
import { quantizeStages } from './quantize-stages';
import type { Recipe } from './recipe';
import {
  type Identity,
  LOG_FILE,
  modelDigest,
  readLog,
  refuseOther,
  WorkFolder,
  windowsDigest,
} from './work-folder';

type LayerwiseResult = Pick<QuantizeReport, 'layers' | 'calibration'>;

/** @internal See `quantize`. */
export async function quantizeLayerwise(
  checkpoint: Checkpoint,
  recipe: Recipe,
  options: QuantizeOptions,
): Promise<LayerwiseResult> {
  const { out, signal, onProgress, restart = false } = options;
  const notice = (message: string): void => onProgress?.({ phase: 'notice', message });
  if (checkpoint.config.quantization) {
    const { quant_method: method = 'an unknown method' } = checkpoint.config.quantization;
    throw new UnsupportedError(
      `${checkpoint.folder} is quantized already, by ${method}: ${recipe.title} needs the original model`,
    );
  }
  const calibration = await gatherWindows(checkpoint, recipe, options, notice);
  const identity: Identity = {
    version: recipe.version,
    model: await modelDigest(checkpoint),
    config: recipe.settings,
    windows: calibration ? windowsDigest(calibration.windows) : null,
  };
  const log = restart ? undefined : await readLog(out);
  if (log) {
    refuseOther(log, identity, out, 'the result of a');
    notice(`${out} holds the finished result of these settings: nothing is left to do`);
    const { layers, calibration } = log as unknown as LayerwiseResult;
    return { layers, ...(calibration ? { calibration } : {}) };
  }
  const work = await WorkFolder.open(out, identity, { restart });
  const { plan, stages } = await runStages(checkpoint, recipe, options, {
    work,
    windows: calibration?.windows ?? [],
    notice,
  });
  const { maxShardBytes } = options;
  const result: LayerwiseResult = {
    layers: stages.flatMap(({ layers }) => layers),
    ...(calibration ? { calibration: calibration.report } : {}),
  };
  const assembled = await work.emptyFolder('result');
  await assemble(assembled, checkpoint, plan, stages, {
    recipe,
    maxShardBytes,
    signal,
    onProgress,
  });
  await replaceFile(join(assembled, LOG_FILE), { ...identity, ...result });
  await moveModel(assembled, out);
  await work.remove();
  return result;
}

interface StageParts {
  work: WorkFolder;
  windows: readonly (readonly number[])[];
  notice: (message: string) => void;
}

async function runStages(
  checkpoint: Checkpoint,
  recipe: Recipe,
  { device: name, dtype, signal, onProgress, ...options }: QuantizeOptions,
  { work, windows, notice }: StageParts,
) {
  const source = await openSource(checkpoint);
  const device = Device.open(name, options);
  let model: Transformer | undefined;
  try {
    const methods = quantizationMethods(undefined, undefined);
    model = new Transformer({
      device,
      config: checkpoint.config,
      source,
      methods,
      dtype,
      ...(windows.length > 0 ? { maxPositions: longest(windows) } : {}),
    });
    const plan = recipe.plan(model, longest(windows));
    for (const unpackable of plan.unpackable) {
      notice(`${unpackable} stays in 16 bits: its extents are no multiples of 32`);
    }
    noticeFewTokens(plan, windows, notice);
    checkIds(model, windows);
    checkMemory(model, windows);
    const job = { checkpoint, model, plan, windows, work, signal, onProgress };
    return { plan, stages: await quantizeStages(recipe, job) };
  } finally {
    model?.dispose();
    device.dispose();
    source.dispose();
  }
}

/** With fewer tokens than inputs, a Hessian knows nothing of most directions. */
function noticeFewTokens(
  { stages }: Plan,
  windows: readonly (readonly number[])[],
  notice: (message: string) => void,
): void {
  const tokens = windows.reduce((sum, { length }) => sum + length, 0);
  const inputs = stages.flatMap(({ targets }) => [...targets.values()]);
  const widest = Math.max(...inputs.map(({ inFeatures }) => inFeatures));
  if (tokens === 0 || tokens >= widest) return;
  notice(
    `${tokens} tokens are fewer than the ${widest} inputs of the widest layer: calibrate with more, or ` +
      'the result may be no better than rounding to nearest',
  );
}

function checkIds({ vocabSize }: Transformer, windows: readonly (readonly number[])[]): void {
  for (const id of windows.flat()) {
    if (Number.isSafeInteger(id) && id >= 0 && id < vocabSize) continue;
    throw new OptionsError(
      `the calibration data hold ${id}, which is no token id of the model: they go from 0 to ` +
        `${vocabSize - 1}`,
    );
  }
}

/** Refuses at once what would fail hours later, or bring the machine down. */
function checkMemory(
  { device, context, config, layers }: Transformer,
  windows: readonly (readonly number[])[],
): void {
  if (device.type !== 'cpu') return;
  const lengths = windows.map(({ length }) => length);
  const states = HiddenStates.bytes(context.activations, lengths, config.hiddenSize);
  const weights = Math.max(
    ...layers.map((modules) => modules.reduce((sum, { bytes }) => sum + bytes, 0)),
  );
  const { free } = device.memory();
  if (states + weights <= free) return;
  throw new FewbitError(
    'ERR_FEWBIT_OUT_OF_MEMORY',
    `the hidden states of ${windows.length} windows need ${states} bytes and a layer ${weights}, but ` +
      `only ${free} are free: calibrate with fewer samples or a smaller seqlen`,
  );
}
