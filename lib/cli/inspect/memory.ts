import { type MemoryPlan, planMemory } from '../../eval/memory';
import type { Context } from '../context';
import type { ModelOptions } from '../options/model-options';
import { formatCount, formatTable } from '../output/format';
import { openShapes } from './shapes';

export interface MemoryCommandOptions extends ModelOptions {
  batch: readonly number[];
  context: readonly number[];
  /** Memory of a GPU, in bytes. */
  gpu?: number;
}

const GB = 1e9;

/**
 * Prints what a model needs with every method: of a GPU, whose hidden states have 16 bits, unless
 * the CPU is asked for. Reads headers, but no weights.
 */
export async function printMemory(
  name: string,
  options: MemoryCommandOptions,
  { output, ...rest }: Context,
): Promise<void> {
  using shapes = await openShapes(name, { ...options, device: 'cpu' }, { output, ...rest });
  const { config, source, transformer } = shapes;
  const { batch, context, gpu } = options;
  const halves = options.device !== 'cpu';
  const plans = planMemory(transformer.device, config, source, { batch, context, halves });
  const fits = ({ needs }: MemoryPlan): boolean => gpu === undefined || needs.total <= gpu;
  output.result({
    model: name,
    parameters: transformer.parameters,
    hiddenStates: halves ? 'f16' : 'f32',
    ...(gpu === undefined ? {} : { gpuBytes: gpu }),
    plans: plans.map((plan) => ({
      method: plan.name,
      ...plan.needs,
      ...(gpu === undefined ? {} : { fits: fits(plan) }),
    })),
  });
  const longest = config.maxPositionEmbeddings;
  const beyond = context.some((tokens) => tokens > longest);
  output.line(
    [
      `${name}: ${formatCount(transformer.parameters)} parameters`,
      ...(gpu === undefined ? [] : [`* does not fit in ${gpu / GB} GB`]),
      ...(beyond ? [`the model goes up to ${longest} tokens: more is arithmetic only`] : []),
      '',
      table(plans, options, fits),
    ].join('\n'),
  );
}

/** A line for each method: weights, then total with cache and activations for each size. */
function table(
  plans: readonly MemoryPlan[],
  { batch, context }: MemoryCommandOptions,
  fits: (plan: MemoryPlan) => boolean,
): string {
  const sizes = batch.flatMap((b) => context.map((c) => ({ batch: b, context: c })));
  const methods = [...new Set(plans.map(({ name }) => name))];
  const planOf = (name: string, size: { batch: number; context: number }): MemoryPlan =>
    plans.find(
      (plan) =>
        plan.name === name &&
        plan.needs.batch === size.batch &&
        plan.needs.context === size.context,
    ) as MemoryPlan;
  const block = (title: string, cell: (plan: MemoryPlan) => string): string[][] => [
    [title],
    ...methods.map((name) => [`  ${name}`, ...sizes.map((size) => cell(planOf(name, size)))]),
  ];
  const gigabytes = (bytes: number): string => (bytes / GB).toFixed(bytes < 0.995e8 ? 3 : 1);
  const rows = [
    ['GB', ...sizes.map((size) => `${size.batch} x ${size.context}`)],
    ...block('weights', ({ needs }) => gigabytes(needs.weights)),
    ...block('cache', ({ needs }) => gigabytes(needs.kvCache)),
    ...block('activations, an estimate', ({ needs }) => gigabytes(needs.activations)),
    ...block('total', (plan) => `${gigabytes(plan.needs.total)}${fits(plan) ? '' : '*'}`),
  ];
  return formatTable(
    rows,
    sizes.map((_, i) => i + 1),
  );
}
