import type { GptqOptions, ops } from 'fewbit';

/** One way to quantize a model to few bits. */
export interface Variant {
  method: string;
  bits: ops.GptqBits;
  groupSize: number;
  options: GptqOptions;
}

/** Methods by name, and what they ask of the quantizer when the range search has exponent `mse`. */
const METHODS: Readonly<Record<string, (mse: number) => GptqOptions>> = {
  rtn: () => ({ roundToNearest: true, actGroupAware: false, mse: 0 }),
  'rtn-mse': (mse) => ({ roundToNearest: true, actGroupAware: false, mse }),
  gptq: (mse) => ({ mse }),
  'act-order': (mse) => ({ descAct: true, mse }),
};

/** Names of methods as they are printed. */
const TITLES: Readonly<Record<string, string>> = {
  rtn: 'RTN',
  'rtn-mse': 'RTN, range search',
  gptq: 'GPTQ',
  'act-order': 'GPTQ, act-order',
};

export interface VariantLists {
  bits: string;
  groupSizes: string;
  methods: string;
  sym: boolean;
  mse: number;
}

/**
 * All combinations of widths, group sizes and methods, given as lists separated by commas.
 * @throws Error naming a method that is not known; wrong numbers are left to the quantizer
 */
export function variantsOf({ bits, groupSizes, methods, sym, mse }: VariantLists): Variant[] {
  return bits.split(',').flatMap((width) =>
    groupSizes.split(',').flatMap((size) =>
      methods.split(',').map((name): Variant => {
        const method = METHODS[name];
        if (!method) {
          throw new Error(`--method takes ${Object.keys(METHODS).join(', ')}, got '${name}'`);
        }
        const shape = { bits: Number(width) as ops.GptqBits, groupSize: Number(size) };
        const options = { ...shape, sym, ...method(mse) };
        return { ...shape, method: TITLES[name] as string, options };
      }),
    ),
  );
}
