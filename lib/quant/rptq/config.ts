import * as z from 'zod';
import type { JsonObject } from '../../checkpoint/json';
import { OptionsError } from '../../errors';
import { MSE_EXPONENT } from '../gptq/config';
import { RPTQ_CONFIG_NAMES, RPTQ_CONFIGS, type RptqConfigName, type RptqWidths } from './widths';

const settings = z.strictObject({
  method: z.literal('rptq').optional(),
  config: z.enum(RPTQ_CONFIG_NAMES).optional(),
  groupSize: z.int().min(32).multipleOf(32).optional(),
  clusters: z.int().min(1).optional(),
  headClusters: z.int().min(1).optional(),
  cacheClusters: z.int().min(1).optional(),
  clusterSizes: z.enum(['balanced', 'kmeans']).optional(),
  metric: z.enum(['ema_minmax', 'mse']).optional(),
  clusterSeed: z.int().optional(),
  keyFeedback: z.boolean().optional(),
  equalize: z.boolean().optional(),
  rotate: z.boolean().optional(),
  trueSequential: z.boolean().optional(),
  damp: z.number().min(0).max(1).optional(),
  mse: z.number().min(0).optional(),
});

/** The plain-object form of `RptqConfig`. */
export type RptqOptions = z.input<typeof settings>;

/** How RPTQ (arXiv 2304.01089) quantizes a model. */
export class RptqConfig {
  readonly method = 'rptq';
  /** One of the paper's configurations; default W4A4KV. */
  readonly config: RptqConfigName;
  /**
   * Inputs per scale of a weight, in the order of the clusters: a multiple of 32. Default: the
   * largest of 128, 64 and 32 that is no more than the average cluster of a layer.
   */
  readonly groupSize: number | undefined;
  /** Clusters of the channels of R1, R4 and R5, and of each head's in R3. */
  readonly clusters: number;
  readonly headClusters: number;
  /**
   * Clusters of each head's queries, keys and values (R2), which are not reordered. Default: every
   * channel is one, as grids by channel cost nothing for each token; the paper has 4.
   */
  readonly cacheClusters: number | undefined;
  /**
   * `kmeans` (default): clusters of any size, as the paper has them; a group of weights may reach into
   * two. `balanced`: of equal size, multiples of the weights' groups; a few channels of a range of their
   * own then share a grid with ordinary ones, which lose by it.
   */
  readonly clusterSizes: 'balanced' | 'kmeans';
  /** How a cluster's range is found: see `ClusterGridOptions`. */
  readonly metric: 'ema_minmax' | 'mse';
  /** Of the centers that KMeans begins with. */
  readonly clusterSeed: number;
  /**
   * Whether keys of 4 and 3 bits are rounded so that their errors make up for each other
   * (`key_round`), which the paper does not have; default true.
   */
  readonly keyFeedback: boolean;
  /**
   * Whether norms whose outputs stay in 16 bits divide their channels by powers of two that the weights
   * after them are multiplied by (`equalizingDivisors`), which the paper does not have; default true.
   */
  readonly equalize: boolean;
  /**
   * Whether inputs of 4 bits of the output projection and of fc2 or down are rotated in blocks before they
   * are quantized (`affineQuantize`), in layers where that lowers their error, which the paper does not
   * have; default true.
   */
  readonly rotate: boolean;
  /** Each part of a block is calibrated with the parts before it quantized. */
  readonly trueSequential: boolean;
  /** Share of the Hessian's mean diagonal added to its diagonal; raised where it is too small. */
  readonly damp: number;
  /** Exponent of the search for the best clipping of weights; 0 for none. */
  readonly mse: number;

  /** @throws OptionsError naming the option that is wrong */
  constructor(options: RptqOptions = {}) {
    const parsed = settings.safeParse(options);
    if (!parsed.success) {
      throw new OptionsError(`rptq: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`);
    }
    const given = parsed.data;
    this.config = given.config ?? 'W4A4KV';
    this.groupSize = given.groupSize;
    this.clusters = given.clusters ?? 32;
    this.headClusters = given.headClusters ?? 4;
    this.cacheClusters = given.cacheClusters;
    this.clusterSizes = given.clusterSizes ?? 'kmeans';
    this.metric = given.metric ?? 'mse';
    this.clusterSeed = given.clusterSeed ?? 0;
    this.keyFeedback = given.keyFeedback ?? true;
    this.equalize = given.equalize ?? true;
    this.rotate = given.rotate ?? true;
    this.trueSequential = given.trueSequential ?? true;
    this.damp = given.damp ?? 0.01;
    this.mse = given.mse ?? MSE_EXPONENT;
  }

  get widths(): RptqWidths {
    return RPTQ_CONFIGS[this.config];
  }

  /** All settings, as plain values. */
  toJSON(): JsonObject {
    const { groupSize = null, cacheClusters = null } = this;
    return { ...Object.fromEntries(Object.entries(this)), groupSize, cacheClusters };
  }
}
