import {
  diskName,
  type LinearModule,
  type LinearOptions,
  type LinearSpec,
  linearName,
  outFeatures,
  partRows,
  partShape,
  whenLoaded,
} from '../../nn/linear-module';
import type { ModuleContext, StoredTensor } from '../../nn/module';
import { type PartProduct, sideBySide } from '../../nn/side-by-side';
import { linearGptq } from '../../ops';
import { Tensor } from '../../tensor';
import type { GptqCheckpointConfig } from './checkpoint-config';
import { hasWrappedZeros, type LoadedWeight, loadWeights } from './gptq-weight';
import { savedLayer } from './saved-layer';
import { describeLayer, layerBytes, type StoredLayer } from './stored-layer';

/** A linear layer with GPTQ weights of 2, 3, 4 or 8 bits, read from a quantized checkpoint. */
export class LinearGptq implements LinearModule {
  readonly method = 'gptq';
  readonly spec: LinearSpec;
  readonly layers: readonly StoredLayer[];
  readonly #context: ModuleContext;
  readonly #config: GptqCheckpointConfig;
  #weights: LoadedWeight[] | undefined;

  /** @throws CheckpointError when the tensors do not fit the configuration */
  constructor(context: ModuleContext, spec: LinearSpec, config: GptqCheckpointConfig) {
    this.#context = context;
    this.#config = config;
    this.spec = spec;
    this.layers = spec.parts.map((part) =>
      describeLayer(context, diskName(spec, part), partShape(spec, part), config),
    );
  }

  get name(): string {
    return linearName(this.spec);
  }

  get parameters(): number {
    const biases = this.layers.filter((layer) => layer.bias);
    const bias = biases.reduce((sum, layer) => sum + layer.outFeatures, 0);
    return outFeatures(this.spec) * this.spec.inFeatures + bias;
  }

  get bytes(): number {
    if (!this.#weights) return this.layers.reduce((sum, layer) => sum + layerBytes(layer), 0);
    return tensorsOf(this.#weights).reduce((sum, tensor) => sum + tensor.byteLength, 0);
  }

  async load(): Promise<void> {
    for (const layer of this.layers) await this.checkZeros(layer);
    this.#weights = await loadWeights(this.#context, this.layers, this.#config);
  }

  forward(x: Tensor, options: LinearOptions = {}): Tensor {
    const products = whenLoaded(this.spec, this.#weights).map(
      ({ weight }): PartProduct => ({
        outFeatures: weight.scales.shape[0] as number,
        multiply: (own) => linearGptq(x, weight, own),
      }),
    );
    return sideBySide(x, products, options);
  }

  dispose(): void {
    for (const tensor of tensorsOf(this.#weights ?? [])) tensor.dispose();
    this.#weights = undefined;
  }

  stored(): StoredTensor[] {
    const names = this.spec.parts.map((part) => part.name);
    return whenLoaded(this.spec, this.#weights).flatMap((loaded) => {
      const parts = loaded.layers.map((layer) => ({
        name: names.shift() as string,
        outFeatures: layer.outFeatures,
      }));
      return partRows({ ...this.spec, parts }).flatMap(({ part, begin, end }) =>
        savedLayer(part.name, loaded, { begin, end }, this.#config.savedZeroFormat),
      );
    });
  }

  private async checkZeros(layer: StoredLayer): Promise<void> {
    if (warned.has(this.#config) || !this.#config.hasDoubtfulZeros(layer.name)) return;
    if (!(await hasWrappedZeros(this.#context, layer))) return;
    warned.add(this.#config);
    warnOfZeros(layer.name);
  }
}

/** Checkpoints whose zero points have been warned of. */
const warned = new WeakSet<GptqCheckpointConfig>();

function tensorsOf(weights: readonly LoadedWeight[]): Tensor[] {
  return weights.flatMap(({ weight }) =>
    Object.values(weight).filter((value): value is Tensor => value instanceof Tensor),
  );
}

function warnOfZeros(name: string): void {
  process.emitWarning(
    `${name}.qzeros holds zero points that programs read differently (asymmetric, format 'gptq', ` +
      "some 0): they are read as GPTQModel writes them. If the model's output is wrong, quantize it " +
      "again in the format 'gptq_v2'.",
    { code: 'FEWBIT_GPTQ_ZEROS' },
  );
}
