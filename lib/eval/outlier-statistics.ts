import { randomNumbers } from './random';
import { Reservoir } from './reservoir';

/** A hidden feature with values of at least the threshold. */
export interface FeatureOutliers {
  feature: number;
  /** Layers in which it has such a value, and their share of all layers. */
  layers: number[];
  layerShare: number;
  /** Share of all hidden states (layers times positions) in which it has such a value. */
  positionShare: number;
  /** Number of such values. */
  values: number;
  /** The sign of all of them, or `both`. */
  sides: 'positive' | 'negative' | 'both';
  quartiles: [number, number, number];
  /** The value farthest from zero. */
  extreme: number;
}

/** What one layer shows. */
export interface LayerOutliers {
  layer: number;
  /** Features with a value of at least the threshold. */
  features: number[];
  /** Share of positions with such a value in any feature. */
  positionShare: number;
  values: number;
  extreme: number;
}

/** Values kept per feature for its quartiles. */
const SAMPLES = 4096;

/**
 * Counts values of at least a threshold per feature and layer. The inputs of one layer (of
 * attention, its output projection and the feed-forward expansion) are one hidden state: a position
 * counts once, whichever of them shows the outlier.
 */
export class OutlierStatistics {
  readonly #features: number;
  readonly #threshold: number;
  readonly #random: () => number;
  readonly #samples: (Reservoir | undefined)[] = [];
  readonly #positive: Float64Array;
  readonly #negative: Float64Array;
  readonly #extremes: Float32Array;
  /** Per layer and feature: positions with an outlier. */
  readonly #hits: Float64Array[];
  readonly #layers: { positions: number; values: number; extreme: number }[];
  #positions = 0;
  #observed = 0;
  /** The layer at hand: which (position, feature) had an outlier so far. */
  #current: { layer: number; marks: Uint8Array } | undefined;

  constructor(shape: { layers: number; features: number; threshold: number; seed: number }) {
    this.#features = shape.features;
    this.#threshold = shape.threshold;
    this.#random = randomNumbers(shape.seed);
    this.#positive = new Float64Array(shape.features);
    this.#negative = new Float64Array(shape.features);
    this.#extremes = new Float32Array(shape.features);
    this.#hits = Array.from({ length: shape.layers }, () => new Float64Array(shape.features));
    this.#layers = this.#hits.map(() => ({ positions: 0, values: 0, extreme: 0 }));
  }

  /** Share of all values that are below the threshold. */
  get ordinaryShare(): number {
    const outliers = this.#layers.reduce((sum, { values }) => sum + values, 0);
    return 1 - outliers / this.#observed;
  }

  /** Takes one input of a layer: x [positions, features]. Layers come in order. */
  observe(layer: number, x: Float32Array): void {
    if (this.#current?.layer !== layer) {
      this.#tally();
      this.#current = { layer, marks: new Uint8Array(x.length) };
    }
    const { marks } = this.#current as { marks: Uint8Array };
    this.#observed += x.length;
    for (let i = 0; i < x.length; i++) {
      const value = x[i] as number;
      if (!(Math.abs(value) >= this.#threshold)) continue;
      marks[i] = 1;
      this.#count(layer, i % this.#features, value);
    }
  }

  /** Ends a window of `positions` tokens. */
  endWindow(positions: number): void {
    this.#tally();
    this.#positions += positions;
  }

  /** Features with any outlier, those in most hidden states first. */
  features(): FeatureOutliers[] {
    const found: FeatureOutliers[] = [];
    for (const [feature, sample] of this.#samples.entries()) {
      if (!sample) continue;
      const hits = this.#hits.map((layer) => layer[feature] as number);
      const layers = [...hits.keys()].filter((layer) => (hits[layer] as number) > 0);
      const [positive, negative] = [this.#positive[feature], this.#negative[feature]] as [
        number,
        number,
      ];
      found.push({
        feature,
        layers,
        layerShare: layers.length / hits.length,
        positionShare: hits.reduce((sum, n) => sum + n, 0) / (hits.length * this.#positions),
        values: positive + negative,
        sides: negative === 0 ? 'positive' : positive === 0 ? 'negative' : 'both',
        quartiles: sample.quartiles(),
        extreme: this.#extremes[feature] as number,
      });
    }
    return found.sort((a, b) => b.positionShare - a.positionShare || a.feature - b.feature);
  }

  layers(): LayerOutliers[] {
    return this.#layers.map(({ positions, values, extreme }, layer) => {
      const hits = this.#hits[layer] as Float64Array;
      return {
        layer,
        features: [...hits.keys()].filter((feature) => (hits[feature] as number) > 0),
        positionShare: positions / this.#positions,
        values,
        extreme,
      };
    });
  }

  #count(layer: number, feature: number, value: number): void {
    const sides = value > 0 ? this.#positive : this.#negative;
    sides[feature] = (sides[feature] as number) + 1;
    this.#samples[feature] ??= new Reservoir(SAMPLES, this.#random);
    this.#samples[feature].add(value);
    const larger = (extreme: number): number =>
      Math.abs(value) > Math.abs(extreme) ? value : extreme;
    this.#extremes[feature] = larger(this.#extremes[feature] as number);
    const own = this.#layers[layer] as { values: number; extreme: number };
    own.values++;
    own.extreme = larger(own.extreme);
  }

  /** Adds up the marks of the layer at hand. */
  #tally(): void {
    if (!this.#current) return;
    const { layer, marks } = this.#current;
    const hits = this.#hits[layer] as Float64Array;
    const own = this.#layers[layer] as { positions: number };
    for (let row = 0; row < marks.length; row += this.#features) {
      let any = 0;
      for (let feature = 0; feature < this.#features; feature++) {
        const mark = marks[row + feature] as number;
        hits[feature] = (hits[feature] as number) + mark;
        any |= mark;
      }
      own.positions += any;
    }
    this.#current = undefined;
  }
}
