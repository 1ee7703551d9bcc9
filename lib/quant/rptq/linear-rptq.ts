import { FewbitError } from '../../errors';
import type { LinearInput } from '../../nn/linear-input';
import {
  diskName,
  type LinearModule,
  type LinearOptions,
  type LinearSpec,
  outFeatures,
  partRows,
} from '../../nn/linear-module';
import type { ModuleContext, StoredTensor } from '../../nn/module';
import { linearAffine, linearGptq } from '../../ops';
import { Tensor } from '../../tensor';
import type { RptqCheckpointConfig } from './checkpoint-config';
import { orderTensors } from './layer-tensors';
import { codedInput, orderedInput } from './ordered-input';
import { type LoadedRptq, loadRptq } from './rptq-weight';
import { savedWeight } from './saved-layer';
import { describeLayer, inputBytes, layerBytes, type StoredLayer } from './stored-layer';

/** The product with one stack of weights. */
interface Product {
  /** Outputs. */
  rows: number;
  multiply(options: LinearOptions & { into?: Tensor }): Tensor;
}

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
    this.layers = spec.parts.map((part) => {
      const { inFeatures, bias } = spec;
      const shape = { inFeatures, outFeatures: part.outFeatures, bias };
      return describeLayer(context, diskName(spec, part), shape, config);
    });
  }

  get name(): string {
    return this.spec.parts.map((part) => part.name).join(' + ');
  }

  /** Biases count where the model has them, not where zero points made one. */
  get parameters(): number {
    const rows = outFeatures(this.spec);
    return rows * this.spec.inFeatures + (this.spec.bias ? rows : 0);
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
    const products = this.#products(input);
    if (products.length === 1) return (products[0] as Product).multiply(options);
    const { device, dtype } = input.x;
    const shape = [input.x.shape[0] as number, outFeatures(this.spec)];
    const out = device.empty(options.dtype ?? dtype, shape);
    let begin = 0;
    for (const { rows, multiply } of products) {
      multiply({ ...options, into: out.columns(begin, begin + rows) });
      begin += rows;
    }
    return out;
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
    const { order: inputOrder, sizes, grids } = input;
    return partRows(this.spec).flatMap(({ part, begin, end }, i) => {
      // Layers that are not alike are stacks of their own.
      const alone = weights.length > 1 ? { begin: 0, end: end - begin } : { begin, end };
      const weight = (weights[i] ?? weights[0]) as (typeof weights)[number];
      return [
        ...savedWeight(part.name, { ...shared, ...alone, weight }),
        ...orderTensors(part.name, { inputOrder, outputOrder: outputOrders[i], sizes, grids }),
      ];
    });
  }

  get #held(): LoadedRptq {
    if (!this.#loaded) throw new FewbitError('ERR_FEWBIT_STATE', `${this.name} is not loaded`);
    return this.#loaded;
  }

  /** What multiplies the input, which is made only once, by each stack of weights. */
  #products(input: LinearInput): Product[] {
    const held = this.#held;
    if (held.kind === 'coded') {
      const codes = codedInput(input, held.grid);
      return held.weights.map((weight) => ({
        rows: weight.scales.shape[0] as number,
        multiply: (options) => linearAffine(codes, weight, options),
      }));
    }
    const { x, order } = orderedInput(input, held.order);
    return held.weights.map((weight) => ({
      rows: weight.scales.shape[0] as number,
      multiply: (options) => linearGptq(x, { ...weight, order }, options),
    }));
  }
}
