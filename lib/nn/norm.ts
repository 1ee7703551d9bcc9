import * as ops from '../ops';
import type { Tensor } from '../tensor';
import type { Module, ModuleContext, StoredTensor } from './module';
import { Parameter } from './parameter';

/**
 * A norm over the hidden axis. `forward(x, residual)` adds x to the residual (in place) and
 * normalises the sum; without a residual it normalises x.
 */
abstract class Norm implements Module {
  readonly method = 'none';
  readonly name: string;
  protected readonly eps: number;
  protected readonly own: Parameter[];

  constructor(name: string, eps: number, own: Parameter[]) {
    this.name = name;
    this.eps = eps;
    this.own = own;
  }

  abstract forward(x: Tensor, residual?: Tensor): Tensor;

  /** What an op needs that computes an RMS norm itself; undefined for norms of another kind. */
  get rms(): { weight: Tensor; eps: number } | undefined {
    return undefined;
  }

  /** What an op needs that computes the norm itself, of whatever kind. */
  abstract get gains(): {
    centered: boolean;
    weight: Tensor | undefined;
    bias: Tensor | undefined;
    eps: number;
  };

  get parameters(): number {
    return this.own.reduce((sum, parameter) => sum + parameter.parameters, 0);
  }

  get bytes(): number {
    return this.own.reduce((sum, parameter) => sum + parameter.bytes, 0);
  }

  async load(): Promise<void> {
    for (const parameter of this.own) await parameter.load();
  }

  dispose(): void {
    for (const parameter of this.own) parameter.dispose();
  }

  stored(): StoredTensor[] {
    return this.own.map((parameter) => parameter.stored());
  }
}

export type { Norm };

/** Root-mean-square norm (Llama). */
export class RmsNorm extends Norm {
  constructor(context: ModuleContext, name: string, size: number, eps: number) {
    super(name, eps, [new Parameter(context, `${name}.weight`, [size])]);
  }

  forward(x: Tensor, residual?: Tensor): Tensor {
    const [weight] = this.own as [Parameter];
    return ops.rmsNorm(x, weight.tensor, { eps: this.eps, residual });
  }

  override get rms(): { weight: Tensor; eps: number } {
    const [weight] = this.own as [Parameter];
    return { weight: weight.tensor, eps: this.eps };
  }

  get gains() {
    return { ...this.rms, centered: false, bias: undefined };
  }
}

/** Layer norm (OPT); `affine` says whether it has a weight and a bias. */
export class LayerNorm extends Norm {
  constructor(context: ModuleContext, name: string, size: number, eps: number, affine = true) {
    const own = affine ? ['weight', 'bias'] : [];
    super(
      name,
      eps,
      own.map((part) => new Parameter(context, `${name}.${part}`, [size])),
    );
  }

  forward(x: Tensor, residual?: Tensor): Tensor {
    const [weight, bias] = this.own;
    return ops.layerNorm(x, weight?.tensor, bias?.tensor, { eps: this.eps, residual });
  }

  get gains() {
    const [weight, bias] = this.own;
    return { centered: true, weight: weight?.tensor, bias: bias?.tensor, eps: this.eps };
  }
}
