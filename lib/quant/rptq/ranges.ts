/** Weight of what came before, in the moving average of a cluster's extremes. */
const MOMENTUM = 0.99;

export interface Extremes {
  readonly min: Float64Array;
  readonly max: Float64Array;
}

/**
 * The smallest and the largest value of every channel of an activation in every calibration sample.
 * Kept by sample, because RPTQ averages the extremes of clusters, which are known only afterwards.
 */
export class ChannelRanges {
  readonly channels: number;
  readonly #samples: { min: Float32Array; max: Float32Array }[] = [];

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
  }

  /** Extremes of every channel over all samples: what channels are clustered by. */
  overall(): Extremes {
    const min = new Float64Array(this.channels).fill(Number.POSITIVE_INFINITY);
    const max = new Float64Array(this.channels).fill(Number.NEGATIVE_INFINITY);
    for (const sample of this.#samples) {
      for (let k = 0; k < this.channels; k++) {
        min[k] = Math.min(min[k] as number, sample.min[k] as number);
        max[k] = Math.max(max[k] as number, sample.max[k] as number);
      }
    }
    return { min, max };
  }

  /**
   * The range of a cluster, as RPTQ's reference implementation tracks it (`ema_minmax`): the
   * extremes of the cluster in the first sample, then a moving average over the samples.
   */
  ofCluster(channels: Iterable<number>): { min: number; max: number } {
    const members = [...channels];
    let range: { min: number; max: number } | undefined;
    for (const sample of this.#samples) {
      const min = members.reduce((least, k) => Math.min(least, sample.min[k] as number), Infinity);
      const max = members.reduce((most, k) => Math.max(most, sample.max[k] as number), -Infinity);
      range = range ? { min: average(range.min, min), max: average(range.max, max) } : { min, max };
    }
    return range as { min: number; max: number };
  }
}

function average(before: number, now: number): number {
  return MOMENTUM * before + (1 - MOMENTUM) * now;
}
