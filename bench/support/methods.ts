import { ops } from 'fewbit';

/** A way to hold and multiply the weights of a linear layer. */
export type Method =
  | { kind: 'f16' }
  | { kind: 'llm.int8' }
  | { kind: 'bitnet' }
  | { kind: 'gptq'; bits: ops.GptqBits; groupSize: number }
  | {
      kind: 'rptq';
      bits: ops.AffineWeightBits;
      groupSize: number;
      inputBits: ops.AffineActivationBits;
    };

/** The options of a benchmark that say which methods it compares. */
export const METHOD_OPTIONS = {
  bits: { type: 'string', default: '4' },
  'group-size': { type: 'string', default: '128' },
} as const;

/**
 * Methods by their names, separated by commas; `gptq` and `rptq` stand for one method per width.
 * @param inputBits widths of activations that `rptq` is taken for; none: it is not known
 * @throws Error naming what is not known
 */
export function parseMethods(
  names: string,
  bits: string,
  groupSize: string,
  inputBits?: string,
): Method[] {
  const size = Number(groupSize);
  if (!Number.isInteger(size) || (size < 1 && size !== -1)) {
    throw new Error(
      `--group-size takes a positive number, or =-1 for whole rows, got '${groupSize}'`,
    );
  }
  const widths = bits.split(',');
  return names.split(',').flatMap((name): Method[] => {
    if (name === 'f16' || name === 'llm.int8' || name === 'bitnet') return [{ kind: name }];
    if (name === 'gptq') {
      return widths.map((width) => ({
        kind: name,
        bits: widthOf(width, ops.GPTQ_BITS, '--bits'),
        groupSize: size,
      }));
    }
    if (name !== 'rptq' || inputBits === undefined) {
      const known = ['f16', 'llm.int8', 'gptq', 'bitnet', ...(inputBits ? ['rptq'] : [])];
      throw new Error(`--method takes ${known.join(', ')}, got '${name}'`);
    }
    return inputBits.split(',').flatMap((width) => {
      const input = widthOf(width, ops.AFFINE_ACTIVATION_BITS, '--input-bits');
      return widths.map((own) => ({
        kind: name,
        bits: widthOf(own, ops.AFFINE_WEIGHT_BITS, '--bits'),
        groupSize: size,
        inputBits: input,
      }));
    });
  });
}

function widthOf<Width extends number>(
  text: string,
  widths: readonly Width[],
  option: string,
): Width {
  const width = widths.find((known) => String(known) === text);
  if (width === undefined) throw new Error(`${option} takes ${widths.join(', ')}, got '${text}'`);
  return width;
}

/** `gptq W4 g128`, `rptq W4A8 g128` */
export function nameOf(method: Method): string {
  if (method.kind === 'rptq') {
    return `rptq W${method.bits}A${method.inputBits} g${method.groupSize}`;
  }
  if (method.kind !== 'gptq') return method.kind;
  return `gptq W${method.bits} g${method.groupSize}`;
}

/**
 * Bits of a weight with K inputs, its share of scales and zero points included: what must be read to
 * multiply with it.
 */
export function bitsPerWeight(method: Method, k: number): number {
  if (method.kind === 'f16') return 16;
  if (method.kind === 'llm.int8') return 8 + 32 / k;
  if (method.kind === 'bitnet') return (8 * ops.bitnetRowBytes(k) + 32) / k;
  const { bits, groupSize } = method;
  return bits + (16 + bits) / (groupSize === -1 ? k : groupSize);
}
