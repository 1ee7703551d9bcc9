import { Embedding } from '../../nn/embedding';
import { loadFloat } from '../../nn/parameter';
import { cast, type GptqFactor } from '../../ops';
import { GptqCheckpointConfig } from '../../quant/gptq/checkpoint-config';
import type { GptqConfig } from '../../quant/gptq/config';
import { layerTensors, type QuantizedLayer, quantizeLayer } from '../../quant/gptq/quantized-layer';
import type { Tensor } from '../../tensor';
import type { Calibration } from '../layerwise/calibration';
import { HessianSet } from '../layerwise/hessians';
import { layerModules, outerModules, rowsOf, withLoaded } from '../layerwise/model-parts';
import { showGroups } from '../layerwise/passes';
import type { Stage, Target } from '../layerwise/plan';
import type { LayerReport } from '../layerwise/progress';
import type { ProgressMeter } from '../layerwise/progress-meter';
import type { LayerwiseJob, StageQuantizer } from '../layerwise/recipe';
import type { FinishedStage } from '../layerwise/work-folder';

/** A linear layer on its way through the quantizer. */
interface Quantized {
  layer: QuantizedLayer;
  report: LayerReport;
}

type FactorFor = (groupSize: number) => GptqFactor;

/** Quantizes the linear layers of one stage and writes them. */
export class GptqStage implements StageQuantizer {
  readonly #job: LayerwiseJob;
  readonly #config: GptqConfig;
  readonly #meter: ProgressMeter;
  readonly #stage: Stage;
  readonly #done = new Map<string, Quantized>();

  constructor(job: LayerwiseJob, meter: ProgressMeter, stage: Stage, config: GptqConfig) {
    this.#job = job;
    this.#config = config;
    this.#meter = meter;
    this.#stage = stage;
  }

  /** By what the calibration windows bring to each layer; without them, to nearest. */
  async quantize(calibration: Calibration | undefined): Promise<FinishedStage> {
    await (calibration ? this.#calibrate(calibration) : this.#round());
    return this.#write();
  }

  async #round(): Promise<void> {
    const { model, signal } = this.#job;
    const { layer, targets } = this.#stage;
    if (layer === 'head') return this.#quantizeHead(() => undefined);
    return withLoaded(layerModules(model, layer), async () => {
      for (const target of targets.values()) {
        signal?.throwIfAborted();
        this.#quantizeRows(target, undefined, 0);
      }
    });
  }

  #calibrate(calibration: Calibration): Promise<void> {
    const { model } = this.#job;
    const { layer } = this.#stage;
    if (layer === 'head') return this.#calibrateHead(calibration);
    return withLoaded(layerModules(model, layer), () => this.#calibrateLayer(calibration, layer));
  }

  async #calibrateLayer(calibration: Calibration, layer: number): Promise<void> {
    const { model } = this.#job;
    const { targets } = this.#stage;
    const all = calibration.groups(model, layer);
    const groups = all.filter((names) => names.some((name) => targets.has(name)));
    const { trueSequential } = this.#config;
    const passes = { groups, trueSequential };
    await showGroups(calibration, model, layer, passes, (names, hessians, share) => {
      const factorFor = hessians.factors(names, this.#config);
      for (const target of names.map((name) => targets.get(name))) {
        if (target) this.#quantizeRows(target, factorFor(target.groupSize), share);
      }
    });
  }

  async #calibrateHead(calibration: Calibration): Promise<void> {
    const { model } = this.#job;
    const names = [...this.#stage.targets.keys()];
    if (names.length === 0) return;
    using hessians = new HessianSet(model.device);
    await withLoaded(outerModules(model), () =>
      calibration.finish(model, (x) => hessians.add(names, x)),
    );
    await this.#quantizeHead(() => hessians.factors(names, this.#config));
  }

  /** Rows of a loaded module, which become the dequantized ones. */
  #quantizeRows(target: Target, factor: GptqFactor | undefined, before: number): void {
    const { model } = this.#job;
    model.device.scope(() => {
      const { module, begin, end } = rowsOf(model, target.name);
      const rows = module.weight.rows(begin, end);
      const w = cast(rows, 'f32');
      this.#quantize(target, w, factor, before);
      model.device.run('cast', [w, rows]);
      return undefined;
    });
  }

  /** The head's weight is read by itself: it may be the embedding's. */
  async #quantizeHead(factors: () => FactorFor | undefined): Promise<void> {
    const { model, checkpoint } = this.#job;
    for (const target of this.#stage.targets.values()) {
      const start = performance.now();
      const embedding = model.modules.find((module) => module instanceof Embedding) as Embedding;
      const name = checkpoint.config.tieWordEmbeddings ? embedding.name : target.name;
      const shape = [checkpoint.config.vocabSize, target.parameters / checkpoint.config.vocabSize];
      using w = model.device.allocate('f32', shape);
      await loadFloat(model.context, `${name}.weight`, w);
      model.device.scope(() => {
        const factor = factors()?.(target.groupSize);
        this.#quantize(target, w, factor, performance.now() - start);
        return undefined;
      });
    }
  }

  /** @param before milliseconds that its calibration took */
  #quantize(target: Target, w: Tensor, factor: GptqFactor | undefined, before: number): void {
    const start = performance.now();
    const { name, bits, groupSize, sym } = target;
    const layer = quantizeLayer(w, factor, { bits, groupSize, sym }, this.#config);
    const seconds = (performance.now() - start + before) / 1000;
    const report = { name, bits, groupSize, error: layer.loss, damp: layer.damp, seconds };
    this.#done.set(name, { layer, report });
    this.#meter.onLayer(target, report);
  }

  #write(): Promise<FinishedStage> {
    const { plan, work } = this.#job;
    const { zeroFormat } = new GptqCheckpointConfig(plan.diskConfig);
    const done = [...this.#done].map(([name, quantized]) => ({ name, ...quantized }));
    return work.write(
      this.#stage,
      done.flatMap(({ name, layer }) => layerTensors(name, layer, zeroFormat)),
      done.map(({ report }) => report),
    );
  }
}
