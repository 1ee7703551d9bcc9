/** Weight of what came before, in the moving average of a cluster's extremes. */
const MOMENTUM = 0.99;

export interface Extremes {
  readonly min: Float64Array;
  readonly max: Float64Array;
}

interface SampleExtremes {
  readonly min: Float32Array;
  readonly max: Float32Array;
}

/**
 * The smallest and the largest value of every channel of an activation in every calibration sample.
 * Kept by sample, because RPTQ averages the extremes of clusters, which are known only afterwards.
 */
export class ChannelRanges {
  readonly channels: number;
  readonly #samples: SampleExtremes[] = [];
  #overall: Extremes | undefined;

  constructor(channels: number) {
    this.channels = channels;
  }

  get samples(): number {
    return this.#samples.length;
  }

  /** @param x float[T, channels] of one sample, T of at least 1 */
  add(x: Float32Array): void {
    const { channels } = this;
    const min = x.slice(0, channels);
    const max = x.slice(0, channels);
    for (let at = channels; at < x.length; at += channels) {
      for (let k = 0; k < channels; k++) {
        const value = x[at + k] as number;
        if (value < (min[k] as number)) min[k] = value;
        if (value > (max[k] as number)) max[k] = value;
      }
    }
    this.#samples.push({ min, max });
    this.#overall = undefined;
  }

  /** Extremes of every channel over all samples: what channels are clustered by. */
  overall(): Extremes {
    if (this.#overall) return this.#overall;
    const min = new Float64Array(this.channels).fill(Number.POSITIVE_INFINITY);
    const max = new Float64Array(this.channels).fill(Number.NEGATIVE_INFINITY);
    for (const sample of this.#samples) {
      for (let k = 0; k < this.channels; k++) {
        min[k] = Math.min(min[k] as number, sample.min[k] as number);
        max[k] = Math.max(max[k] as number, sample.max[k] as number);
      }
    }
    this.#overall = { min, max };
    return this.#overall;
  }

  /**
   * The range of a cluster. `average`: as RPTQ's reference implementation tracks it (`ema_minmax`),
   * the extremes of the cluster in the first sample, then a moving average over the samples. `all`:
   * the extremes over all samples.
   */
  ofCluster(
    channels: Iterable<number>,
    over: 'average' | 'all' = 'average',
  ): { min: number; max: number } {
    const members = [...channels];
    const extremes = ({ min, max }: Extremes | SampleExtremes): { min: number; max: number } => ({
      min: members.reduce((least, k) => Math.min(least, min[k] as number), Infinity),
      max: members.reduce((most, k) => Math.max(most, max[k] as number), -Infinity),
    });
    if (over === 'all') return extremes(this.overall());
    let range: { min: number; max: number } | undefined;
    for (const sample of this.#samples) {
      const { min, max } = extremes(sample);
      range = range ? { min: average(range.min, min), max: average(range.max, max) } : { min, max };
    }
    return range as { min: number; max: number };
  }
}

function average(before: number, now: number): number {
  return MOMENTUM * before + (1 - MOMENTUM) * now;
}
