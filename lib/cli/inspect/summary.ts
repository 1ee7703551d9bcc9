import { OptionsError } from '../../errors';
import { memoryNeeds } from '../../eval/memory';
import type { Context } from '../context';
import type { ModelOptions } from '../options/model-options';
import { formatBytes, formatCount, formatTable } from '../output/format';
import { describeBytes, storedBytes } from '../stored-bytes';
import { groupModules, listModules, type ModuleGroup, shortName } from './layers';
import { type ModelShapes, openShapes } from './shapes';

export interface SummaryOptions extends ModelOptions {
  batch: number;
  context?: number;
  layers?: boolean;
}

/** Longest context that the engine takes unless it is told otherwise. */
const DEFAULT_CONTEXT = 4096;

/** Prints what a model is and what it will need. Reads headers, but no weights. */
export async function printSummary(
  name: string,
  options: SummaryOptions,
  context: Context,
): Promise<void> {
  using shapes = await openShapes(name, options, context);
  const { config, checkpoint, transformer } = shapes;
  const { device, modules } = transformer;
  const sizes = {
    batch: options.batch,
    context: options.context ?? Math.min(config.maxPositionEmbeddings, DEFAULT_CONTEXT),
  };
  if (sizes.context > config.maxPositionEmbeddings) {
    throw new OptionsError(
      `--context is ${sizes.context}, but the model goes up to ${config.maxPositionEmbeddings}`,
    );
  }
  const { free, total } = device.memory();
  const summary = {
    model: name,
    architecture: config.modelType,
    config,
    parameters: transformer.parameters,
    ...(checkpoint ? { stored: await storedBytes(checkpoint) } : {}),
    modules: options.layers ? listModules(modules) : groupModules(modules),
    memory: { ...sizes, ...memoryNeeds(transformer, sizes) },
    device: { name: device.name, type: device.type, freeBytes: free, totalBytes: total },
  };
  context.output.result(summary);
  context.output.line(describe(summary, shapes));
}

type Summary = {
  model: string;
  parameters: number;
  stored?: Record<string, number>;
  modules: ModuleGroup[];
  memory: ReturnType<typeof memoryNeeds> & { batch: number; context: number };
  device: { name: string; type: 'cpu' | 'cuda'; freeBytes: number };
};

function describe(summary: Summary, { config, transformer }: ModelShapes): string {
  const { memory, device, stored, parameters } = summary;
  const { kvHeads, headDim, dtype } = transformer.cacheShape;
  const heads = `${config.numAttentionHeads} heads of ${headDim}, ${kvHeads} for keys and values`;
  const fits = memory.total <= device.freeBytes ? 'fits in' : 'does NOT fit in';
  return [
    `${summary.model}: ${config.modelType}, ${formatCount(parameters)} parameters`,
    `  ${config.numHiddenLayers} layers, hidden size ${config.hiddenSize}, ${heads}`,
    `  vocabulary ${config.vocabSize}, context ${config.maxPositionEmbeddings}, ` +
      `${config.tieWordEmbeddings ? 'tied' : 'untied'} embeddings`,
    `  on disk: ${stored ? describeBytes(stored) : 'nothing, this is a preset of shapes'}`,
    '',
    describeModules(summary.modules),
    '',
    `memory for ${memory.batch} x ${memory.context} tokens on ${device.name}:`,
    formatTable(
      [
        ['  weights', formatBytes(memory.weights)],
        ['  cache', formatBytes(memory.kvCache), cacheNote(device.type, dtype)],
        ['  activations', formatBytes(memory.activations), 'an estimate'],
        ['  total', formatBytes(memory.total), `${fits} the ${formatBytes(device.freeBytes)} free`],
      ],
      [1],
    ),
  ].join('\n');
}

function cacheNote(type: 'cpu' | 'cuda', dtype: string): string {
  return type === 'cpu' ? `${dtype}; half of it on CUDA, which takes 16 bits` : dtype;
}

function describeModules(modules: readonly ModuleGroup[]): string {
  const rows = modules.map(({ name, method, count, parameters, bytes }) => [
    `  ${shortName(name)}`,
    count > 1 ? `x ${count}` : '',
    method === 'none' ? '-' : method,
    formatCount(parameters),
    formatBytes(bytes),
  ]);
  const head = ['  module', '', 'method', 'parameters', 'memory'];
  return formatTable([head, ...rows], [3, 4]);
}
