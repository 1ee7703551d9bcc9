import type { ModelConfig } from '../../checkpoint/config';
import type { Device } from '../../device';
import { OptionsError } from '../../errors';
import { Transformer } from '../../models/transformer';
import type { LinearModule } from '../../nn/linear-module';
import { outFeatures } from '../../nn/linear-module';
import type { WeightSource } from '../../nn/weight-source';
import { type QuantizationMethod, quantizationMethods, RPTQ_CONFIG_NAMES } from '../../quant';
import { GptqMethod } from '../../quant/gptq';
import { RptqConfig, RptqMethod, rptqDiskConfig } from '../../quant/rptq';
import { clusterPlans } from '../../quant/rptq/layer-design';
import { headShape, type LayerPoints, layerPoints } from '../../quant/rptq/layer-points';
import { type CachePlan, type MemoryNeeds, memoryNeeds } from './needs';
import { type PlannedLayer, PlannedSource } from './planned-source';

/** A method with its configuration. */
export interface MemoryPlan {
  readonly name: string;
  readonly needs: MemoryNeeds & { readonly batch: number; readonly context: number };
}

export interface PlanOptions {
  batch: readonly number[];
  context: readonly number[];
  /** Whether hidden states are of 16 bits, as on a GPU; else f32, as on the CPU. */
  halves: boolean;
}

type Original = Pick<WeightSource, 'has' | 'describe'>;

/** A model as a method would have it. */
interface Planned {
  readonly name: string;
  readonly methods: readonly QuantizationMethod[];
  readonly layers?: ReadonlyMap<string, PlannedLayer>;
  readonly cache?: CachePlan | undefined;
}

const GROUP_SIZE = 128;

/**
 * What a model will take with every method and configuration that applies to it: of a checkpoint that
 * is quantized already, as it is and with caches of few bits.
 * @param device which modules are made for; nothing is allocated on it but a few bytes
 */
export function planMemory(
  device: Device,
  config: ModelConfig,
  original: Original,
  options: PlanOptions,
): MemoryPlan[] {
  for (const [name, list] of Object.entries({ batch: options.batch, context: options.context })) {
    if (list.length === 0) throw new OptionsError(`${name} must have at least one value`);
  }
  return plannedMethods(device, config, original).flatMap(({ name, methods, layers, cache }) => {
    const source = new PlannedSource(original, layers ?? new Map(), options.halves);
    const transformer = new Transformer({ device, config, source, methods });
    try {
      const dtype = options.halves ? 'f16' : transformer.cacheShape.dtype;
      return options.batch.flatMap((batch) =>
        options.context.map((context) => ({
          name,
          needs: { batch, context, ...memoryNeeds(transformer, { batch, context, cache, dtype }) },
        })),
      );
    } finally {
      transformer.dispose();
    }
  });
}

function plannedMethods(device: Device, config: ModelConfig, original: Original): Planned[] {
  const dynamic = (bits: 4 | 3): CachePlan => ({ bits, fixed: false });
  const stored = quantizationMethods(undefined, config.quantization);
  if (config.quantization) {
    const method = `${config.quantization.quant_method ?? 'as stored'}`;
    const names = { bitnet: 'BitNet', gptq: 'GPTQ', rptq: 'RPTQ', bitsandbytes: 'LLM.int8()' };
    const name = names[method as keyof typeof names] ?? method;
    return [
      { name, methods: stored },
      ...([4, 3] as const).map((bits) => ({
        name: `${name}, KV${bits} dynamic`,
        methods: stored,
        cache: dynamic(bits),
      })),
    ];
  }
  const linears = linearLayers(device, config, original);
  return [
    { name: '16-bit', methods: stored },
    { name: 'LLM.int8()', methods: quantizationMethods({ method: 'llm.int8' }, undefined) },
    ...([8, 4, 3, 2] as const).map((bits) => gptqPlan(bits, linears)),
    ...rptqPlans(config, linears),
  ];
}

/** A linear layer inside of a decoder layer. */
interface LinearLayer {
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
}

function linearLayers(device: Device, config: ModelConfig, original: Original): LinearLayer[] {
  const source = new PlannedSource(original, new Map(), false);
  const transformer = new Transformer({ device, config, source });
  try {
    return transformer.layers
      .flat()
      .filter((module): module is LinearModule => 'spec' in module)
      .flatMap(({ spec }) =>
        spec.parts.map((part) => ({
          name: part.name,
          inFeatures: spec.inFeatures,
          outFeatures: outFeatures({ ...spec, parts: [part] }),
          bias: spec.bias,
        })),
      );
  } finally {
    transformer.dispose();
  }
}

/** Layers whose extents are no multiples of 32 stay in 16 bits. */
function packable({ inFeatures, outFeatures: rows }: LinearLayer): boolean {
  return inFeatures % 32 === 0 && rows % 32 === 0;
}

function gptqPlan(bits: 8 | 4 | 3 | 2, linears: readonly LinearLayer[]): Planned {
  const layers = new Map(
    linears.filter(packable).map((linear): [string, PlannedLayer] => {
      const bias = linear.bias ? 'f16' : undefined;
      return [linear.name, { ...linear, bits, groupSize: GROUP_SIZE, scales: 'f16', bias }];
    }),
  );
  const stored = { quant_method: 'gptq', bits, group_size: GROUP_SIZE, sym: true, desc_act: false };
  return { name: `GPTQ ${bits} bits`, methods: [new GptqMethod(stored)], layers };
}

/** None for models whose norms cannot be reordered. */
function rptqPlans(config: ModelConfig, linears: readonly LinearLayer[]): Planned[] {
  const points = pointsOf(config);
  if (!points) return [];
  return RPTQ_CONFIG_NAMES.map((name) =>
    rptqPlan(new RptqConfig({ config: name }), config, points, linears),
  );
}

function rptqPlan(
  rptq: RptqConfig,
  config: ModelConfig,
  points: readonly LayerPoints[],
  linears: readonly LinearLayer[],
): Planned {
  const { widths, config: name } = rptq;
  const { weights, cache: bits, query } = widths;
  const inner = 'intermediateSize' in config ? config.intermediateSize : config.ffnDim;
  const plans = clusterPlans({ ...headShape(config), hidden: config.hiddenSize, inner }, rptq);
  const layers = new Map<string, PlannedLayer>();
  const byName = new Map(linears.map((linear) => [linear.name, linear]));
  for (const point of weights === 16 ? [] : points) {
    const normed = [point.query, point.key, point.value, ...point.inner];
    for (const layer of [...normed, point.output, point.down]) {
      const linear = byName.get(layer);
      if (!linear || !packable(linear)) continue;
      const reordered = normed.includes(layer);
      const plan = reordered ? plans.norm : layer === point.output ? plans.output : plans.down;
      const coded = (reordered ? widths.norm : widths.inner) < 16;
      layers.set(layer, {
        ...linear,
        bits: weights as 4 | 3,
        groupSize: plan.groupSize,
        scales: coded ? 'f32' : 'f16',
        bias: coded || linear.bias ? 'f32' : undefined,
        input: { clusters: plan.count * (linear.inFeatures / plan.width), reordered },
      });
    }
  }
  const method = withoutGrids(new RptqMethod(rptqDiskConfig(rptq)));
  const queryBits = query === 16 ? undefined : query;
  const cache = bits === 16 ? undefined : { bits, fixed: true, queryBits };
  return { name: `RPTQ ${name}`, methods: [method], layers, cache };
}

/** The method without the grids that it would make room for on the host. */
function withoutGrids(method: RptqMethod): QuantizationMethod {
  return {
    method: method.method,
    isStored: (context, name) => method.isStored(context, name),
    quantizes: () => false,
    create: (context, spec) => method.create(context, spec),
    diskConfig: () => method.diskConfig(),
  };
}

function pointsOf(config: ModelConfig): LayerPoints[] | undefined {
  if (config.modelType === 'bitnet') return undefined;
  if (config.modelType === 'opt' && !config.doLayerNormBefore) return undefined;
  return Array.from({ length: config.numHiddenLayers }, (_, i) => layerPoints(config, i));
}
