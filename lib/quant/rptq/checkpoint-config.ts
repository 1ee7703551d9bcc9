import * as z from 'zod';
import type { JsonObject } from '../../checkpoint/json';
import { CheckpointError, UnsupportedError } from '../../errors';
import { KV_BITS, QUERY_BITS } from '../../ops';
import type { RptqConfig } from './config';
import { mayRotate } from './rotation';
import type { RptqWidths } from './widths';

/** Of the layout that docs/rptq.md describes; other ones are refused. The second has rotated inputs. */
const VERSIONS: readonly unknown[] = [1, 2];

const widths = z.object({
  weights: z.literal([16, 4, 3]),
  norm: z.literal([16, 8, 4]),
  query: z.literal([16, ...QUERY_BITS]),
  cache: z.literal([16, ...KV_BITS]),
  inner: z.literal([16, 8, 4]),
});
const schema = z.looseObject({
  bits: widths,
  calibration_seqlen: z.int().min(1).optional(),
});

/** `quantization_config` of an RPTQ checkpoint. */
export class RptqCheckpointConfig {
  readonly widths: RptqWidths;
  /** Tokens of the longest window that it was calibrated with. */
  readonly calibratedLength: number | undefined;
  readonly #raw: JsonObject;

  /**
   * @throws UnsupportedError for another version of the layout, CheckpointError for wrong values
   */
  constructor(raw: JsonObject) {
    if (!VERSIONS.includes(raw.version)) {
      throw new UnsupportedError(
        `the checkpoint is in version ${String(raw.version)} of the RPTQ layout; supported: ` +
          `${VERSIONS.join(', ')}. Update fewbit, or quantize the original again`,
      );
    }
    const parsed = schema.safeParse(raw);
    if (!parsed.success) {
      const reason = z.prettifyError(parsed.error).replaceAll('\n', ' ');
      throw new CheckpointError(`the RPTQ configuration of the checkpoint is wrong: ${reason}`);
    }
    this.widths = parsed.data.bits;
    this.calibratedLength = parsed.data.calibration_seqlen;
    this.#raw = raw;
  }

  diskConfig(): JsonObject {
    return this.#raw;
  }
}

/**
 * What config.json says of a model that is quantized so.
 * @param calibratedLength tokens of the longest window; left out where nothing was calibrated
 */
export function rptqDiskConfig(config: RptqConfig, calibratedLength?: number): JsonObject {
  return {
    quant_method: 'rptq',
    // What cannot have any keeps the version that older programs read.
    version: mayRotate(config) ? 2 : 1,
    config: config.config,
    bits: { ...config.widths },
    clusters: config.clusters,
    head_clusters: config.headClusters,
    cache_clusters: config.cacheClusters ?? null,
    cluster_sizes: config.clusterSizes,
    cluster_seed: config.clusterSeed,
    metric: config.metric,
    key_feedback: config.keyFeedback,
    equalize: config.equalize,
    rotate: config.rotate,
    ...(calibratedLength === undefined ? {} : { calibration_seqlen: calibratedLength }),
    damp_percent: config.damp,
    true_sequential: config.trueSequential,
    meta: { quantizer: ['fewbit'] },
  };
}
