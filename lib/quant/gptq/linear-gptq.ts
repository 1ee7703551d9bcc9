import { FewbitError } from '../../errors';
import {
  diskName,
  type LinearModule,
  type LinearOptions,
  type LinearSpec,
  outFeatures,
  partRows,
} from '../../nn/linear-module';
import type { ModuleContext, StoredTensor } from '../../nn/module';
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
  #weights: LoadedWeight[] = [];

  /** @throws CheckpointError when the tensors do not fit the configuration */
  constructor(context: ModuleContext, spec: LinearSpec, config: GptqCheckpointConfig) {
    this.#context = context;
    this.#config = config;
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

  get parameters(): number {
    const biases = this.layers.filter((layer) => layer.bias);
    const bias = biases.reduce((sum, layer) => sum + layer.outFeatures, 0);
    return outFeatures(this.spec) * this.spec.inFeatures + bias;
  }

  get bytes(): number {
    if (this.#weights.length === 0) {
      return this.layers.reduce((sum, layer) => sum + layerBytes(layer), 0);
    }
    return tensorsOf(this.#weights).reduce((sum, tensor) => sum + tensor.byteLength, 0);
  }

  async load(): Promise<void> {
    for (const layer of this.layers) await this.checkZeros(layer);
    this.#weights = await loadWeights(this.#context, this.layers, this.#config);
  }

  forward(x: Tensor, options: LinearOptions = {}): Tensor {
    const [first, ...others] = this.#weights;
    if (!first) throw new FewbitError('ERR_FEWBIT_STATE', `${this.name} is not loaded`);
    if (others.length === 0) return linearGptq(x, first.weight, options);
    const shape = [x.shape[0] as number, outFeatures(this.spec)];
    const out = x.device.empty(options.dtype ?? x.dtype, shape);
    let begin = 0;
    for (const { weight } of this.#weights) {
      const end = begin + (weight.scales.shape[0] as number);
      linearGptq(x, weight, { ...options, into: out.columns(begin, end) });
      begin = end;
    }
    return out;
  }

  dispose(): void {
    for (const tensor of tensorsOf(this.#weights)) tensor.dispose();
    this.#weights = [];
  }

  stored(): StoredTensor[] {
    const names = this.spec.parts.map((part) => part.name);
    return this.#weights.flatMap((loaded) => {
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
