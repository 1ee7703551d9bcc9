import { InvalidArgumentError } from 'commander';
import { byteSize, list, numberFrom, seed, wholeNumber } from '../../lib/cli/options/numbers';
import { quantizationOption } from '../../lib/cli/options/quantization';

describe('quantizationOption', () => {
  test('reads methods and settings', () => {
    expect(quantizationOption('llm.int8')).toMatchObject({ method: 'llm.int8', threshold: 6 });
    expect(
      quantizationOption(
        'llm.int8, threshold=4.5,mode=bitsandbytes,skip-modules=q_proj+fc2,quantizeHead=true',
      ),
    ).toMatchObject({
      threshold: 4.5,
      mode: 'bitsandbytes',
      skipModules: ['q_proj', 'fc2'],
      quantizeHead: true,
    });
    expect(quantizationOption('llm.int8,keptColumns=none,threshold=0')).toMatchObject({
      keptColumns: 'none',
      threshold: 0,
    });
  });

  test.each([
    ['', /does not begin with a method/],
    ['threshold=6', /does not begin with a method/],
    ['gguf', /unknown quantization method 'gguf'; available: llm.int8/],
    ['llm.int8,threshold', /'threshold' is not key=value/],
    ['llm.int8,threshold=', /'threshold=' is not key=value/],
    ['llm.int8,,', /'' is not key=value/],
    ['llm.int8,threshold=6,threshold=7', /threshold is given twice/],
    ['llm.int8,method=gptq', /method is given twice/],
    ['llm.int8,threshold=high', /expected number/],
    ['llm.int8,threshold=-1', />=0/],
    ['llm.int8,mode=fast', /mode/],
    ['llm.int8,group-size=32', /Unrecognized key: "groupSize"/],
  ])('refuses %j', (text, message) => {
    expect(() => quantizationOption(text)).toThrow(message);
    expect(() => quantizationOption(text)).toThrow(
      expect.objectContaining({ code: 'ERR_FEWBIT_OPTIONS' }),
    );
  });
});

describe('argument parsers', () => {
  test.each<[string, unknown, unknown]>([
    ['wholeNumber', wholeNumber(0)('12'), 12],
    ['numberFrom', numberFrom(0)('1e-3'), 0.001],
    ['seed', seed('-5'), -5],
    ['a long seed', seed('9007199254740993'), 9007199254740993n],
    ['bytes', byteSize('123'), 123],
    ['byteSize', byteSize('1.5GB'), 1.5e9],
    ['byteSize with a space', byteSize('200 mb'), 2e8],
    ['list', list('a, b'), ['a', 'b']],
  ])('%s', (_, found, expected) => {
    expect(found).toEqual(expected);
  });

  test.each<[string, () => unknown]>([
    ['a fraction', () => wholeNumber(0)('1.5')],
    ['too small', () => wholeNumber(1)('0')],
    ['too large', () => wholeNumber(0, 3)('4')],
    ['no digits', () => wholeNumber(0)('')],
    ['no number', () => numberFrom(0)('high')],
    ['nothing', () => numberFrom(0)(' ')],
    ['infinity', () => numberFrom(0)('Infinity')],
    ['a fraction as seed', () => seed('1.5')],
    ['an unknown unit', () => byteSize('5 GiB')],
    ['no size', () => byteSize('GB')],
    ['zero bytes', () => byteSize('0')],
    ['an empty item', () => list('a,,b')],
  ])('refuse %s', (_, parse) => {
    expect(parse).toThrow(InvalidArgumentError);
  });
});
