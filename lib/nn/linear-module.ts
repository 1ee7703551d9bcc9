import { FewbitError } from '../errors';
import type { DType } from '../native';
import type { Activation } from '../ops';
import type { Tensor } from '../tensor';
import type { SharedTable } from './embedding';
import type { LinearInput } from './linear-input';
import type { Module } from './module';

/** One linear layer of a checkpoint. Several that share an input may be held as one matrix. */
export interface LinearPart {
  /** Prefix on disk: the weight is `<name>.weight`. */
  readonly name: string;
  readonly outFeatures: number;
}

/** What a linear module is made from. */
export interface LinearSpec {
  readonly parts: readonly LinearPart[];
  readonly inFeatures: number;
  readonly bias: boolean;
  /** Prefix of the tensors to read, where it is not the part's own name (a tied head). */
  readonly weightName?: string;
}

export interface LinearOptions {
  activation?: Activation;
  /** Dtype of the output; default the input's. */
  dtype?: DType;
}

/** A (possibly quantized) linear layer, or several with the same input stacked along the output. */
export interface LinearModule extends Module {
  readonly spec: LinearSpec;
  /** x float[T, inFeatures] to [T, sum of the parts' outFeatures]. */
  forward(x: Tensor, options?: LinearOptions): Tensor;
  /** The same with the steps that make x, by classes that can fuse them with their own. */
  forwardFrom?(input: LinearInput, options?: LinearOptions): Tensor;
  /** Of a head that a tied embedding can take its rows from. */
  readonly sharedTable?: SharedTable;
  /** Adds that output to residual float[T, outFeatures], in place, by classes that can. */
  addFrom?(input: LinearInput, residual: Tensor): void;
}

export function outFeatures({ parts }: LinearSpec): number {
  return parts.reduce((sum, part) => sum + part.outFeatures, 0);
}

/** The parts with the rows of the stacked matrix that belong to them. */
export function partRows({
  parts,
}: LinearSpec): { part: LinearPart; begin: number; end: number }[] {
  let end = 0;
  return parts.map((part) => {
    const begin = end;
    end += part.outFeatures;
    return { part, begin, end };
  });
}

/** The layers of a module, for errors and reports. */
export function linearName({ parts }: LinearSpec): string {
  return parts.map((part) => part.name).join(' + ');
}

/** Weights and biases. */
export function linearParameters(spec: LinearSpec): number {
  const rows = outFeatures(spec);
  return rows * spec.inFeatures + (spec.bias ? rows : 0);
}

/** What a loaded module holds. @throws FewbitError before it is loaded */
export function whenLoaded<T>(spec: LinearSpec, held: T | undefined): T {
  if (held === undefined) {
    throw new FewbitError('ERR_FEWBIT_STATE', `${linearName(spec)} is not loaded`);
  }
  return held;
}

/** A part as a layer of its own. */
export function partShape({ inFeatures, bias }: LinearSpec, { outFeatures }: LinearPart) {
  return { inFeatures, outFeatures, bias };
}

/** Prefix on disk of a part's tensors. */
export function diskName(spec: LinearSpec, part: LinearPart): string {
  return spec.weightName ?? part.name;
}
