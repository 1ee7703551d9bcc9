import type { LinearInput } from '../../nn/linear-input';
import {
  diskName,
  type LinearModule,
  type LinearOptions,
  type LinearSpec,
  linearName,
  linearParameters,
  partRows,
  partShape,
  whenLoaded,
} from '../../nn/linear-module';
import type { ModuleContext, StoredTensor } from '../../nn/module';
import { type PartProduct, sideBySide } from '../../nn/side-by-side';
import { linearAffine, linearGptq } from '../../ops';
import { Tensor } from '../../tensor';
import type { RptqCheckpointConfig } from './checkpoint-config';
import { orderTensors } from './layer-tensors';
import { codedInput, orderedInput } from './ordered-input';
import { type LoadedRptq, loadRptq } from './rptq-weight';
import { savedWeight } from './saved-layer';
import { describeLayer, inputBytes, layerBytes, type StoredLayer } from './stored-layer';

/**
 * A linear layer of RPTQ (arXiv 2304.01089): columns stand in the order of clusters of input channels.
 * With 8 or 4 bit activations their scales are part of the weight and their zero points of the bias.
 */
export class LinearRptq implements LinearModule {
  readonly method = 'rptq';
  readonly spec: LinearSpec;
  readonly layers: readonly StoredLayer[];
  readonly #context: ModuleContext;
  #loaded: LoadedRptq | undefined;

  /** @throws CheckpointError when the tensors do not fit the configuration */
  constructor(context: ModuleContext, spec: LinearSpec, config: RptqCheckpointConfig) {
    this.#context = context;
    this.spec = spec;
    this.layers = spec.parts.map((part) =>
      describeLayer(context, diskName(spec, part), partShape(spec, part), config),
    );
  }

  get name(): string {
    return linearName(this.spec);
  }

  /** Biases count where the model has them, not where zero points made one. */
  get parameters(): number {
    return linearParameters(this.spec);
  }

  get bytes(): number {
    const shared = inputBytes(this.layers[0] as StoredLayer);
    return this.layers.reduce((sum, layer) => sum + layerBytes(layer), shared);
  }

  async load(): Promise<void> {
    this.#loaded = await loadRptq(this.#context, this.layers);
  }

  forward(x: Tensor, options: LinearOptions = {}): Tensor {
    return this.forwardFrom({ x }, options);
  }

  /** Norm, reordering and quantization are one call, or gated unit and quantization. */
  forwardFrom(input: LinearInput, options: LinearOptions = {}): Tensor {
    return sideBySide(input.x, this.#products(input), options);
  }

  dispose(): void {
    const held = this.#loaded;
    held?.order?.dispose();
    if (held?.kind === 'coded') held.grid.grid.dispose();
    for (const weight of held?.weights ?? []) {
      for (const value of Object.values(weight)) if (value instanceof Tensor) value.dispose();
    }
    this.#loaded = undefined;
  }

  stored(): StoredTensor[] {
    const { kind, input, outputOrders, weights } = this.#held;
    const shared = { coded: kind === 'coded', positions: this.spec.inFeatures };
    const { order: inputOrder, sizes, grids, rotation } = input;
    return partRows(this.spec).flatMap(({ part, begin, end }, i) => {
      // Layers that are not alike are stacks of their own.
      const alone = weights.length > 1 ? { begin: 0, end: end - begin } : { begin, end };
      const weight = (weights[i] ?? weights[0]) as (typeof weights)[number];
      return [
        ...savedWeight(part.name, { ...shared, ...alone, weight }),
        ...orderTensors(part.name, {
          inputOrder,
          outputOrder: outputOrders[i],
          sizes,
          grids,
          rotation,
        }),
      ];
    });
  }

  get #held(): LoadedRptq {
    return whenLoaded(this.spec, this.#loaded);
  }

  /** What multiplies the input, which is made only once, by each stack of weights. */
  #products(input: LinearInput): PartProduct[] {
    const held = this.#held;
    if (held.kind === 'coded') {
      const codes = codedInput(input, held.grid);
      return held.weights.map((weight) => ({
        outFeatures: weight.scales.shape[0] as number,
        multiply: (options) => linearAffine(codes, weight, options),
      }));
    }
    const { x, order } = orderedInput(input, held.order);
    return held.weights.map((weight) => ({
      outFeatures: weight.scales.shape[0] as number,
      multiply: (options) => linearGptq(x, { ...weight, order }, options),
    }));
  }
}
