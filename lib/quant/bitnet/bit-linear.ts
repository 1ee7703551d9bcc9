import { FewbitError } from '../../errors';
import { computed, type LinearInput } from '../../nn/linear-input';
import {
  diskName,
  type LinearModule,
  type LinearOptions,
  type LinearSpec,
  linearName,
  linearParameters,
  outFeatures,
  partRows,
} from '../../nn/linear-module';
import type { ModuleContext, StoredTensor } from '../../nn/module';
import { Parameter } from '../../nn/parameter';
import { type PartProduct, sideBySide } from '../../nn/side-by-side';
import { type BitLinearOptions, type BitnetQuantizeOptions, bitLinear } from '../../ops';
import type { Tensor } from '../../tensor';
import type { BitnetCheckpointConfig } from './checkpoint-config';
import { checkPart } from './stored-form';
import { storedPart } from './stored-part';
import { type LoadedPart, type LoadedTernary, loadTernary, ternaryBytes } from './ternary-weight';

/** Layers that are multiplied at once: all with the same input, or one that normalises it itself. */
interface Stack {
  readonly spec: LinearSpec;
  readonly norm?: { readonly gain: Parameter; readonly eps: number };
  loaded?: LoadedTernary | undefined;
}

/**
 * The linear layer of BitNet b1.58 (arXiv 2402.17764, section 2): ternary weights in 2 bits each, a
 * scale per output (each matrix on disk has one), and activations quantized per row at run time. The
 * sums are exact integers, the same on every device.
 */
export class BitLinear implements LinearModule {
  readonly method = 'bitnet';
  readonly spec: LinearSpec;
  readonly #context: ModuleContext;
  readonly #config: BitnetCheckpointConfig;
  readonly #stacks: readonly Stack[];

  /** @throws CheckpointError when the tensors do not fit the layer */
  constructor(context: ModuleContext, spec: LinearSpec, config: BitnetCheckpointConfig) {
    this.#context = context;
    this.#config = config;
    this.spec = spec;
    for (const part of spec.parts) checkPart(context, spec, part);
    this.#stacks = stacksOf(context, spec, config.normEps);
  }

  get name(): string {
    return linearName(this.spec);
  }

  get parameters(): number {
    const norms = this.norms.reduce((sum, norm) => sum + norm.parameters, 0);
    return linearParameters(this.spec) + norms;
  }

  get bytes(): number {
    const norms = this.norms.reduce((sum, norm) => sum + norm.bytes, 0);
    return ternaryBytes(this.#context, this.spec) + norms;
  }

  async load(): Promise<void> {
    for (const stack of this.#stacks) {
      await stack.norm?.gain.load();
      stack.loaded = await loadTernary(this.#context, stack.spec, this.#config);
    }
  }

  forward(x: Tensor, options: LinearOptions = {}): Tensor {
    return this.forwardFrom({ x }, options);
  }

  /** Gated unit, norm, quantization and product are one call. */
  forwardFrom(input: LinearInput, options: LinearOptions = {}): Tensor {
    const [first, ...others] = this.#stacks as [Stack, ...Stack[]];
    if (others.length === 0) {
      return this.multiply(input, first, options);
    }
    const x = computed(input);
    const products = this.#stacks.map(
      (stack): PartProduct => ({
        outFeatures: outFeatures(stack.spec),
        multiply: (own) => this.multiply({ x }, stack, own),
      }),
    );
    return sideBySide(x, products, options);
  }

  /** The product's kernel does the sum. */
  addFrom(input: LinearInput, residual: Tensor): void {
    const [only, other] = this.#stacks as [Stack, Stack | undefined];
    if (other) throw new FewbitError('ERR_FEWBIT_STATE', `${this.name} has several outputs`);
    this.multiply(input, only, { residual, into: residual });
  }

  /** What ternarizing lost of each layer that was loaded from full precision: see `LoadedPart`. */
  get errors(): { name: string; error: number }[] {
    return this.#stacks.flatMap((stack) =>
      stack.spec.parts.flatMap(({ name }, i) => {
        const { error } = this.loaded(stack).parts[i] as LoadedPart;
        return error === undefined ? [] : [{ name, error }];
      }),
    );
  }

  dispose(): void {
    for (const stack of this.#stacks) {
      stack.norm?.gain.dispose();
      for (const tensor of Object.values(stack.loaded?.weight ?? {})) tensor?.dispose();
      stack.loaded = undefined;
    }
  }

  stored(): StoredTensor[] {
    const { inFeatures } = this.spec;
    return this.#stacks.flatMap((stack) => {
      const { weight, parts } = this.loaded(stack);
      const tensors = partRows(stack.spec).flatMap(({ part, begin, end }, i) => {
        const { gamma } = parts[i] as LoadedPart;
        return storedPart(part.name, weight, { rows: { begin, end }, inFeatures, gamma });
      });
      return stack.norm ? [...tensors, stack.norm.gain.stored()] : tensors;
    });
  }

  private get norms(): Parameter[] {
    return this.#stacks.flatMap(({ norm }) => (norm ? [norm.gain] : []));
  }

  private multiply(input: LinearInput, stack: Stack, options: BitLinearOptions): Tensor {
    const { x, steps } = fused(input, stack);
    return bitLinear(x, this.loaded(stack).weight, steps, options);
  }

  private loaded({ loaded }: Stack): LoadedTernary {
    if (!loaded) throw new FewbitError('ERR_FEWBIT_STATE', `${this.name} is not loaded`);
    return loaded;
  }
}

/** @param eps of the norms that layers have of their own, if they do */
function stacksOf(context: ModuleContext, spec: LinearSpec, eps: number | undefined): Stack[] {
  if (eps === undefined) return [{ spec }];
  return spec.parts.map((part) => {
    const gain = new Parameter(context, `${diskName(spec, part)}.rms_norm.weight`, [
      spec.inFeatures,
    ]);
    return { spec: { ...spec, parts: [part] }, norm: { gain, eps } };
  });
}

/**
 * What is quantized, and the steps before that its kernel takes. A norm of the layer's own comes after
 * the input's, if that has one.
 */
function fused(
  input: LinearInput,
  { norm: own }: Stack,
): { x: Tensor; steps: BitnetQuantizeOptions } {
  const { x, gated, residual, norm } = input;
  const gain = own && { weight: own.gain.tensor, eps: own.eps };
  const isFusable = norm ? norm.rms && !gain && !residual : true;
  if (!isFusable) return { x: computed(input), steps: { norm: gain } };
  return { x, steps: { gated, norm: gain ?? norm?.rms } };
}
