import type { Device } from '../device';
import { OptionsError, UnsupportedError } from '../errors';
import type { Transformer } from '../models/transformer';
import { Linear } from '../nn/linear';
import { partRows } from '../nn/linear-module';
import { cast, type GptqFactor, gptqFactor, gptqHessian } from '../ops';
import { GptqCheckpointConfig } from '../quant/gptq/checkpoint-config';
import type { GptqConfig } from '../quant/gptq/config';
import { isPackable, type QuantizedLayer, quantizeLayer } from '../quant/gptq/quantized-layer';
import type { Tensor } from '../tensor';
import { byBlock, Calibration } from './calibration';

/** A layer that is done. */
export interface GptqProgress {
  name: string;
  done: number;
  total: number;
  loss: number;
  /** Damping of its Hessian, -1 where it was rounded to nearest. */
  damp: number;
  seconds: number;
}

export interface QuantizeGptqOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: GptqProgress) => void) | undefined;
}

/** Layers of a model by name, quantized. */
export type QuantizedLayers = Map<string, QuantizedLayer>;

/**
 * Quantizes the linear layers inside a model's blocks by GPTQ (arXiv 2210.17323), one after the
 * other, each calibrated with those before it quantized. The model's own weights become the
 * dequantized ones. Layers whose extents are no multiples of 32 cannot be packed and stay as they
 * are, as do the embeddings and the head.
 * @param windows token ids to calibrate with; not used when `config.roundToNearest`
 * @throws OptionsError without windows, UnsupportedError when the model is quantized already, or
 * `signal.reason`
 */
export async function quantizeGptq(
  transformer: Transformer,
  windows: readonly (readonly number[])[],
  config: GptqConfig,
  { signal, onProgress }: QuantizeGptqOptions = {},
): Promise<QuantizedLayers> {
  const targets = findTargets(transformer, config);
  const quantized: QuantizedLayers = new Map();
  const quantize = (name: string, factor: GptqFactor | undefined, start: number): void => {
    const target = targets.get(name) as Target;
    const layer = transformer.device.scope(() => quantizeTarget(target, factor, config));
    quantized.set(name, layer);
    const { loss, damp } = layer;
    const seconds = (performance.now() - start) / 1000;
    onProgress?.({ name, done: quantized.size, total: targets.size, loss, damp, seconds });
  };
  if (config.roundToNearest) {
    for (const name of targets.keys()) {
      signal?.throwIfAborted();
      quantize(name, undefined, performance.now());
    }
    return quantized;
  }
  if (windows.length === 0) throw new OptionsError('GPTQ needs windows of ids to calibrate with');
  using calibration = new Calibration(transformer, windows);
  const groups = calibration.groups().filter((names) => names.some((name) => targets.has(name)));
  for (const stage of config.trueSequential ? groups.map((names) => [names]) : byBlock(groups)) {
    const start = performance.now();
    using hessians = new HessianSet(transformer.device);
    await calibration.pass(stage, (names, x) => hessians.add(names, x), signal);
    for (const names of stage) {
      transformer.device.scope(() => {
        const factorFor = hessians.factors(names, config);
        for (const name of names) {
          const target = targets.get(name);
          if (target) quantize(name, factorFor(target), start);
        }
        return undefined;
      });
    }
  }
  return quantized;
}

/** A layer to be quantized: some rows of a linear module. */
interface Target {
  name: string;
  module: Linear;
  begin: number;
  end: number;
  layer: ReturnType<GptqCheckpointConfig['layerConfig']>;
}

function findTargets({ modules }: Transformer, config: GptqConfig): Map<string, Target> {
  const layers = new GptqCheckpointConfig(config.diskConfig());
  const targets = new Map<string, Target>();
  for (const module of modules) {
    if (!('spec' in module) || !module.name.includes('.layers.')) continue;
    if (!(module instanceof Linear)) {
      throw new UnsupportedError(`${module.name} is quantized already: GPTQ needs the original`);
    }
    for (const { part, begin, end } of partRows(module.spec)) {
      const { name } = part;
      if (layers.skips(name) || !isPackable(module.spec.inFeatures, end - begin)) continue;
      targets.set(name, { name, module, begin, end, layer: layers.layerConfig(name) });
    }
  }
  return targets;
}

function quantizeTarget(
  { module, begin, end, layer }: Target,
  factor: GptqFactor | undefined,
  config: GptqConfig,
): QuantizedLayer {
  using rows = module.weight.rows(begin, end);
  const w = cast(rows, 'f32');
  const quantized = quantizeLayer(w, factor, layer, config);
  rows.device.run('cast', [w, rows]);
  return quantized;
}

/** Hessians of the inputs of a stage, by the layers that share an input. */
class HessianSet {
  readonly #device: Device;
  readonly #sums = new Map<string, { h: Tensor; rows: number }>();

  constructor(device: Device) {
    this.#device = device;
  }

  add(names: readonly string[], x: Tensor): void {
    const [rows, k] = x.shape as unknown as [number, number];
    const key = names.join();
    const sum = this.#sums.get(key) ?? { h: this.#device.allocate('f32', [k, k]), rows: 0 };
    const total = sum.rows + rows;
    this.#sums.set(key, sum);
    gptqHessian(sum.h, x, { keep: sum.rows / total, scale: 2 / total });
    sum.rows = total;
  }

  /** Factors for layers that share an input: one for all that have groups of the same size. */
  factors(
    names: readonly string[],
    { ordering, damp }: GptqConfig,
  ): (target: Target) => GptqFactor {
    const { h } = this.#sums.get(names.join()) as { h: Tensor };
    const bySize = new Map<number, GptqFactor>();
    return ({ layer, module }) => {
      const groupSize = layer.groupSize === -1 ? module.spec.inFeatures : layer.groupSize;
      const factor = bySize.get(groupSize) ?? gptqFactor(h, { ordering, groupSize, damp });
      bySize.set(groupSize, factor);
      return factor;
    };
  }

  [Symbol.dispose](): void {
    for (const { h } of this.#sums.values()) h.dispose();
    this.#sums.clear();
  }
}
