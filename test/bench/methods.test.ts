import { variantsOf } from '../../bench/support/gptq-variants';
import { bitsPerWeight, nameOf, parseMethods } from '../../bench/support/methods';
import { GptqConfig } from '../../lib/quant/gptq/config';

test('methods and widths make one row each', () => {
  const names = (...given: [string, string, string]) => parseMethods(...given).map(nameOf);
  expect(names('f16,llm.int8,gptq', '4,2', '128')).toEqual([
    'f16',
    'llm.int8',
    'gptq W4 g128',
    'gptq W2 g128',
  ]);
  expect(names('gptq', '3', '-1')).toEqual(['gptq W3 g-1']);
});

test.each<[[string, string, string], RegExp]>([
  [['fp8', '4', '128'], /--method takes f16, llm.int8, gptq.*got 'fp8'/],
  [['gptq', '5', '128'], /--bits takes 2, 3, 4, 8, got '5'/],
  [['gptq', '4', '0'], /--group-size/],
  [['gptq', '4', 'all'], /--group-size.*'all'/],
])('%j is refused', (given, message) => {
  expect(() => parseMethods(...given)).toThrow(message);
});

test('bits of a weight with its share of scales and zero points', () => {
  const bits = (name: string, width: string, size: string) =>
    parseMethods(name, width, size).map((method) => bitsPerWeight(method, 4096));
  expect(bits('f16', '4', '128')).toEqual([16]);
  expect(bits('llm.int8', '4', '128')).toEqual([8 + 1 / 128]);
  expect(bits('gptq', '4', '128')).toEqual([4 + 20 / 128]);
  expect(bits('gptq', '3,2', '-1')).toEqual([3 + 19 / 4096, 2 + 18 / 4096]);
});

describe('variants of a model', () => {
  const lists = { bits: '4,2', groupSizes: '128,-1', methods: 'rtn,act-order', sym: false, mse: 2 };

  test('are all combinations, which the quantizer takes', () => {
    const variants = variantsOf(lists);
    expect(variants.map(({ bits, groupSize, method }) => [bits, groupSize, method])).toEqual([
      [4, 128, 'RTN'],
      [4, 128, 'GPTQ, act-order'],
      [4, -1, 'RTN'],
      [4, -1, 'GPTQ, act-order'],
      [2, 128, 'RTN'],
      [2, 128, 'GPTQ, act-order'],
      [2, -1, 'RTN'],
      [2, -1, 'GPTQ, act-order'],
    ]);
    const [rtn, actOrder] = variants.map(({ options }) => new GptqConfig(options));
    expect(rtn).toMatchObject({ roundToNearest: true, sym: false, mse: 0 });
    expect(actOrder).toMatchObject({ roundToNearest: false, descAct: true, sym: false, mse: 2 });
  });

  test('wrong lists are refused', () => {
    expect(() => variantsOf({ ...lists, methods: 'awq' })).toThrow(/--method takes rtn.*'awq'/);
    for (const { options } of variantsOf({ ...lists, bits: '5' })) {
      expect(() => new GptqConfig(options)).toThrow(/bits/);
    }
  });
});
