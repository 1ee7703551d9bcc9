import { gridTensors } from '../../nn/attention';
import type { StoredTensor } from '../../nn/module';
import { cast, type GptqFactor, gptqFactor } from '../../ops';
import {
  type QuantizedLayer,
  quantizeExactly,
  quantizeLayer,
} from '../../quant/gptq/quantized-layer';
import type { RptqConfig } from '../../quant/rptq';
import { foldedBias } from '../../quant/rptq/folded-bias';
import { channelGrid } from '../../quant/rptq/input-design';
import { designLayer, type LayerDesign, type LinearDesign } from '../../quant/rptq/layer-design';
import { headShape, type LayerPoints, layerPoints } from '../../quant/rptq/layer-points';
import { layerTensors } from '../../quant/rptq/layer-tensors';
import { mayRotate } from '../../quant/rptq/rotation';
import type { Tensor } from '../../tensor';
import type { Calibration } from '../layerwise/calibration';
import { layerModules, rowsOf, withLoaded } from '../layerwise/model-parts';
import { showGroups } from '../layerwise/passes';
import type { Stage, Target } from '../layerwise/plan';
import type { LayerReport } from '../layerwise/progress';
import type { ProgressMeter } from '../layerwise/progress-meter';
import type { LayerwiseJob, StageQuantizer } from '../layerwise/recipe';
import type { FinishedStage } from '../layerwise/work-folder';
import { InputFold } from './folded-weight';
import { columnSizes, dividedNorm, hasGains } from './norm-gains';
import { observeLayer } from './observe';

/** How GPTQ takes columns: the most important of a group first, which the files do not show. */
const ORDERING = { ordering: 'within-groups', grouping: 'by-column' } as const;

/** Clusters the channels of one decoder layer, quantizes its linear layers and writes them. */
export class RptqStage implements StageQuantizer {
  readonly #job: LayerwiseJob;
  readonly #meter: ProgressMeter;
  readonly #stage: Stage;
  readonly #config: RptqConfig;
  readonly #tensors: StoredTensor[] = [];
  readonly #reports: LayerReport[] = [];

  constructor(job: LayerwiseJob, meter: ProgressMeter, stage: Stage, config: RptqConfig) {
    this.#job = job;
    this.#meter = meter;
    this.#stage = stage;
    this.#config = config;
  }

  async quantize(calibration: Calibration): Promise<FinishedStage> {
    const { model, work } = this.#job;
    const layer = this.#stage.layer as number;
    const points = layerPoints(model.config, layer);
    await withLoaded(layerModules(model, layer), async () => {
      const design = await this.#design(calibration, layer, points);
      await this.#quantizeLinears(calibration, layer, design);
      for (const [norm, divisors] of design.norms) {
        this.#tensors.push(...(await dividedNorm(model, norm, divisors)));
      }
      this.#tensors.push(
        ...gridTensors(points.attention, design.cache, headShape(model.config).headDim),
      );
    });
    return work.write(this.#stage, this.#tensors, this.#reports);
  }

  async #design(
    calibration: Calibration,
    layer: number,
    points: LayerPoints,
  ): Promise<LayerDesign> {
    const { model } = this.#job;
    const shape = headShape(model.config);
    const rotates = mayRotate(this.#config);
    const seen = await observeLayer(calibration, model, layer, points, shape, rotates);
    const columns = this.#columns(points);
    return designLayer(points, { ...seen, columns }, shape, this.#config);
  }

  /** Sizes of the weights after norms that are to divide their channels. */
  #columns({ norms, query, key, value, inner }: LayerPoints): Map<string, Float32Array> {
    const { equalize, widths } = this.#config;
    const readers = [
      [norms.attention, [query, key, value]],
      [norms.inner, inner],
    ] as const;
    // Where inputs are codes, the scales of clusters are in the weights already.
    if (!equalize || widths.norm < 16 || widths.weights === 16) return new Map();
    const { model } = this.#job;
    return new Map(
      readers
        .filter(([norm]) => hasGains(model, norm))
        .map(([norm, names]) => [norm, columnSizes(model, names)]),
    );
  }

  async #quantizeLinears(
    calibration: Calibration,
    layer: number,
    { linears }: LayerDesign,
  ): Promise<void> {
    const { model } = this.#job;
    const { targets } = this.#stage;
    if (targets.size === 0) return;
    const groups = calibration.groups(model, layer);
    const { damp, trueSequential } = this.#config;
    const passes = { groups, trueSequential };
    await showGroups(calibration, model, layer, passes, (names, hessians, share) => {
      const design = linears.get(names[0] as string) as LinearDesign;
      const fold = new InputFold(design.input);
      const { groupSize } = design;
      const h = fold.hessian(hessians.sum(names));
      const factor = gptqFactor(h, { ...ORDERING, groupSize, damp });
      for (const name of names) {
        const own = { fold, factor, design: linears.get(name) as LinearDesign };
        this.#quantizeRows(targets.get(name) as Target, own, share);
      }
    });
  }

  /** Rows of a loaded module, which become the dequantized ones. */
  #quantizeRows(
    target: Target,
    { fold, factor, design }: { fold: InputFold; factor: GptqFactor; design: LinearDesign },
    before: number,
  ): void {
    const start = performance.now();
    const { model } = this.#job;
    model.device.scope(() => {
      const { module, begin, end } = rowsOf(model, target.name);
      const rows = module.weight.rows(begin, end);
      const w = fold.fold(cast(rows, 'f32'));
      const bias = module.bias && cast(module.bias.rows(begin, end), 'f32');
      const layer = this.#write(target, w, { factor, design, bias });
      model.device.run('cast', [fold.unfold(w), rows]);
      const { name, bits, groupSize } = target;
      const seconds = (performance.now() - start + before) / 1000;
      const report = { name, bits, groupSize, error: layer.loss, damp: layer.damp, seconds };
      this.#reports.push(report);
      this.#meter.onLayer(target, report);
      return undefined;
    });
  }

  /** The scales of codes of activations can be far too small for 16 bits, and with them the weights'. */
  #write(
    { name, bits, groupSize, sym }: Target,
    w: Tensor,
    {
      factor,
      design,
      bias,
    }: { factor: GptqFactor; design: LinearDesign; bias?: Tensor | undefined },
  ): QuantizedLayer | QuantizedLayer<Float32Array> {
    const how = { grouping: ORDERING.grouping, mse: this.#config.mse };
    const own = { bits, groupSize, sym };
    const given = bias?.readFloats();
    if (!design.input.grids) {
      const layer = quantizeLayer(w, factor, own, how);
      this.#tensors.push(...layerTensors(name, layer, design, given));
      return layer;
    }
    const layer = quantizeExactly(w, factor, own, how);
    const folded = foldedBias(layer, channelGrid(design.input), given);
    this.#tensors.push(...layerTensors(name, layer, design, folded));
    return layer;
  }
}
