import { UnsupportedError } from '../../errors';
import type { Command, DType } from '../../native';
import type { WeightSource } from '../../nn/weight-source';

/** A linear layer as a quantized checkpoint would hold it. */
export interface PlannedLayer {
  readonly bits: 8 | 4 | 3 | 2;
  readonly groupSize: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly scales: 'f16' | 'f32';
  /** Absent where there is none. */
  readonly bias?: 'f16' | 'f32' | undefined;
  /** Of RPTQ: what its input is quantized by, and whether a norm writes it in an order of its own. */
  readonly input?: { readonly clusters: number; readonly reordered: boolean };
}

interface Described {
  readonly dtype: DType;
  readonly shape?: readonly number[];
}

/**
 * The tensors of a checkpoint that nobody has written yet: those of the original, but for layers
 * that will be quantized. It says what modules need, and holds no values.
 */
export class PlannedSource implements WeightSource {
  readonly #original: Pick<WeightSource, 'has' | 'describe'>;
  readonly #layers: ReadonlyMap<string, PlannedLayer>;
  readonly #halves: boolean;

  /**
   * @param layers by the prefix of their tensors
   * @param halves whether floats of 32 bits will be held in 16, as on a GPU
   */
  constructor(
    original: Pick<WeightSource, 'has' | 'describe'>,
    layers: ReadonlyMap<string, PlannedLayer>,
    halves: boolean,
  ) {
    this.#original = original;
    this.#layers = layers;
    this.#halves = halves;
  }

  has(name: string): boolean {
    const { layer, part } = this.#split(name);
    return layer ? part in tensorsOf(layer) : this.#original.has(name);
  }

  describe(name: string): Described {
    const { layer, part } = this.#split(name);
    const planned = layer && tensorsOf(layer)[part];
    if (planned) return planned;
    const { dtype, ...rest } = this.#original.describe(name);
    return { ...rest, dtype: this.#halves && dtype === 'f32' ? 'f16' : dtype };
  }

  load(name: string): Command {
    throw new UnsupportedError(`${name} is planned only: there is nothing to load`);
  }

  async scalar(): Promise<undefined> {
    return undefined;
  }

  #split(name: string): { layer: PlannedLayer | undefined; part: string } {
    const dot = name.lastIndexOf('.');
    return { layer: this.#layers.get(name.slice(0, dot)), part: name.slice(dot + 1) };
  }
}

function tensorsOf(layer: PlannedLayer): Record<string, Described> {
  const { bits, groupSize, inFeatures, outFeatures, scales, bias, input } = layer;
  const groups = Math.ceil(inFeatures / groupSize);
  const list = (dtype: DType, length: number): Described => ({ dtype, shape: [length] });
  return {
    qweight: { dtype: 'i32', shape: [(inFeatures * bits) / 32, outFeatures] },
    qzeros: { dtype: 'i32', shape: [groups, (outFeatures * bits) / 32] },
    scales: { dtype: scales, shape: [groups, outFeatures] },
    ...(bias ? { bias: list(bias, outFeatures) } : {}),
    ...(input
      ? {
          input_clusters: list('i32', input.clusters),
          input_scales: list('f32', input.clusters),
          input_zeros: list('i32', input.clusters),
          ...(input.reordered ? { input_order: list('i32', inFeatures) } : {}),
        }
      : {}),
  };
}
