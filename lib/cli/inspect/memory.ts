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
const MB = 1e6;

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

/** A line for each method: weights and activations, then cache and total for each size. */
function table(
  plans: readonly MemoryPlan[],
  { batch, context }: MemoryCommandOptions,
  fits: (plan: MemoryPlan) => boolean,
): string {
  const largest = Math.max(...plans.map(({ needs }) => needs.total));
  const [unit, of] = largest < GB / 10 ? ([MB, 'MB'] as const) : ([GB, 'GB'] as const);
  const show = (bytes: number): string => (bytes / unit).toFixed(bytes < unit / 10 ? 3 : 1);
  const sizes = batch.flatMap((b) => context.map((c) => ({ batch: b, context: c })));
  const rows = [...new Set(plans.map(({ name }) => name))].map((name) => ({
    name,
    plans: sizes.map(
      (size) =>
        plans.find(
          (plan) =>
            plan.name === name &&
            plan.needs.batch === size.batch &&
            plan.needs.context === size.context,
        ) as MemoryPlan,
    ),
  }));
  const block = (title: string, cell: (plan: MemoryPlan) => string): string[][] => [
    [`${title}, ${of}`, ...sizes.map((size) => `${size.batch} x ${size.context}`)],
    ...rows.map((row) => [`  ${row.name}`, ...row.plans.map(cell)]),
    [],
  ];
  const right = sizes.map((_, i) => i + 1);
  return [
    formatTable(
      block('weights', ({ needs }) => show(needs.weights)),
      right,
    ),
    formatTable(
      block('cache', ({ needs }) => show(needs.kvCache)),
      right,
    ),
    formatTable(
      block('activations (an estimate)', ({ needs }) => show(needs.activations)),
      right,
    ),
    formatTable(
      block('total', (plan) => `${show(plan.needs.total)}${fits(plan) ? ' ' : '*'}`),
      right,
    ),
  ].join('\n');
}
