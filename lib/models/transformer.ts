import type { ModelConfig } from '../checkpoint/config';
import type { Device } from '../device';
import { OptionsError } from '../errors';
import type { DType } from '../native';
import { Attention } from '../nn/attention';
import type { CacheShape, CausalLM, ForwardBatch } from '../nn/causal-lm';
import type { Module, ModuleContext } from '../nn/module';
import { ropeTable } from '../nn/rope';
import type { WeightSource } from '../nn/weight-source';
import type { LayerCache } from '../ops';
import type { QuantizationMethod } from '../quant/method';
import { elementsOf, type Tensor } from '../tensor';
import { ModelBuilder } from './builder';
import type { Decoder, DecoderLayer, HiddenState } from './decoder';
import { buildDecoder } from './registry';

export interface TransformerOptions {
  device: Device;
  config: ModelConfig;
  source: WeightSource;
  methods?: readonly QuantizationMethod[];
  /** Dtype of hidden states; default f32 on the CPU, the checkpoint's 16-bit dtype on CUDA. */
  dtype?: DType | undefined;
  /** Positions that a rotary table is made for; default the model's. */
  maxPositions?: number | undefined;
}

export interface LoadProgress {
  /** Bytes of weights in place, and of all weights. */
  loaded: number;
  total: number;
}

/** A model's modules on one device. Made from shapes alone; `load` brings the weights. */
export class Transformer implements CausalLM {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly modules: readonly Module[];
  /** The modules of each layer; the others are embeddings, what follows the last layer, the head. */
  readonly layers: readonly (readonly Module[])[];
  readonly context: ModuleContext;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly cacheShape: CacheShape;
  readonly #decoder: Decoder;
  readonly #tables: Tensor[] = [];
  #rope: Tensor | undefined;

  constructor(options: TransformerOptions) {
    const { device, config, source } = options;
    this.device = device;
    this.config = config;
    const int8Stats = device.allocate('i64', [2]);
    this.#tables.push(int8Stats);
    const activations = activationDtype(device, options.dtype ?? config.dtype);
    this.context = { device, activations, source, int8Stats };
    const builder = new ModelBuilder(this.context, options.methods ?? []);
    this.#decoder = buildDecoder(config, builder);
    this.modules = builder.modules;
    this.layers = builder.layerModules;
    this.vocabSize = config.vocabSize;
    this.maxPositions = Math.min(
      options.maxPositions ?? config.maxPositionEmbeddings,
      config.maxPositionEmbeddings,
    );
    const { kvHeads, headDim } = this.#decoder;
    this.cacheShape = {
      layers: this.layers.length,
      kvHeads,
      headDim,
      dtype: activations,
      ...cacheGrids(this.modules),
    };
  }

  /** Weights of all modules, counted once. */
  get parameters(): number {
    return this.modules.reduce((sum, module) => sum + module.parameters, 0);
  }

  /** Bytes of the modules on the device once loaded. */
  get bytes(): number {
    return this.modules.reduce((sum, module) => sum + module.bytes, 0);
  }

  /** Reads (and quantizes) the weights, one module after the other. */
  async load(
    options: { signal?: AbortSignal; onProgress?: (progress: LoadProgress) => void } = {},
  ): Promise<void> {
    const total = this.bytes;
    let loaded = 0;
    for (const module of this.modules) {
      options.signal?.throwIfAborted();
      await module.load();
      loaded += module.bytes;
      options.onProgress?.({ loaded: Math.min(loaded, total), total });
    }
    this.prepare();
  }

  /** Makes the tables that layers read besides weights. `load` does it. */
  prepare(): void {
    if (!('rope' in this.config) || this.#rope) return;
    const { headDim } = this.#decoder;
    const table = ropeTable(this.config.rope, headDim, this.maxPositions);
    this.#rope = this.device.from('f32', [this.maxPositions, headDim], table);
    this.#tables.push(this.#rope);
  }

  forward(batch: ForwardBatch): Tensor {
    let state: HiddenState = { residual: this.embed(batch) };
    for (let i = 0; i < this.layers.length; i++) state = this.forwardLayer(i, state, batch);
    return this.finish(state);
  }

  /** Ids and positions to float[T, D], what the first layer reads. */
  embed(batch: Pick<ForwardBatch, 'ids' | 'positions'>): Tensor {
    return this.#decoder.embed(batch);
  }

  /** One layer; it changes `state.residual` in place. */
  forwardLayer(index: number, state: HiddenState, batch: ForwardBatch): HiddenState {
    const layer = this.#decoder.layers[index] as DecoderLayer;
    const cache = batch.cache[index] as LayerCache;
    return layer.forward(state, { ...batch, cache, rope: this.#rope });
  }

  /** What the last layer left, to hidden states float[T, D] after the final norm. */
  finish(state: HiddenState): Tensor {
    return this.#decoder.finish(state);
  }

  logits(hidden: Tensor): Tensor {
    return this.#decoder.head.forward(hidden, { dtype: 'f32' });
  }

  /**
   * Share of the values multiplied by int8 layers since loading that went through int8, the rest
   * being outlier columns in 16 bits. undefined when no such layer has run.
   */
  int8Share(): number | undefined {
    const [quantized, all] = (this.context.int8Stats?.read() ?? []) as BigInt64Array;
    return all ? Number(quantized) / Number(all) : undefined;
  }

  dispose(): void {
    for (const module of this.modules) module.dispose();
    for (const table of this.#tables) table.dispose();
    this.#tables.length = 0;
  }
}

/** What the checkpoint says of the cache; the values come with the modules. */
function cacheGrids(
  modules: readonly Module[],
): Pick<CacheShape, 'bits' | 'grids' | 'queryBits' | 'calibratedLength'> {
  const attentions = modules.filter((module) => module instanceof Attention);
  const [first] = attentions;
  if (!first?.widths) return {};
  return { ...first.widths, grids: attentions.flatMap(({ grids }) => grids ?? []) };
}

function activationDtype(device: Device, wanted: DType | undefined): DType {
  if (device.type === 'cpu') return 'f32';
  if (wanted === 'f16' || wanted === 'bf16') return wanted;
  if (wanted === undefined || wanted === 'f32') return 'f16';
  throw new OptionsError(`dtype ${wanted} is not one that hidden states can have: f16 or bf16`);
}

/** Bytes of one token's keys and values over all layers. */
export function cacheBytesPerToken({ layers, kvHeads, headDim, dtype }: CacheShape): number {
  return elementsOf([2, layers, kvHeads, headDim]) * (dtype === 'f32' ? 4 : 2);
}
