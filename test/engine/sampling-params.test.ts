import { type GenerationOptions, samplingParams } from '../../lib/engine/sampling-params';
import { OptionsError } from '../../lib/errors';

const model = { vocabSize: 100, eosTokenIds: [2] };

describe('samplingParams', () => {
  test('is greedy by default and draws a seed', () => {
    const params = samplingParams({}, model);
    expect(params).toMatchObject({
      maxNewTokens: 128,
      temperature: 0,
      topK: 0,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
      stop: [],
    });
    expect([...params.stopTokenIds]).toEqual([2]);
    expect(Number.isSafeInteger(params.seed)).toBe(true);
    expect(samplingParams({}, model).seed).not.toBe(params.seed);
  });

  test.each([{ topK: 5 }, { topP: 0.9 }, { minP: 0.1 }])('%j alone means sampling', (options) => {
    expect(samplingParams(options, model).temperature).toBe(1);
    expect(samplingParams({ ...options, temperature: 0 }, model).temperature).toBe(0);
  });

  test('stop tokens join the end-of-sequence tokens unless those are ignored', () => {
    expect([...samplingParams({ stopTokenIds: [7] }, model).stopTokenIds]).toEqual([7, 2]);
    const ignoring = samplingParams({ stopTokenIds: [7], ignoreEos: true }, model);
    expect([...ignoring.stopTokenIds]).toEqual([7]);
  });

  test('takes one stop string or several, and keeps its own copy', () => {
    expect(samplingParams({ stop: '\n' }, model).stop).toEqual(['\n']);
    const stop = ['a', 'b'];
    const params = samplingParams({ stop }, model);
    stop.push('c');
    expect(params.stop).toEqual(['a', 'b']);
  });

  test('takes seeds of 64 bits', () => {
    expect(samplingParams({ seed: -1 }, model).seed).toBe(-1);
    expect(samplingParams({ seed: 2n ** 64n - 1n }, model).seed).toBe(2n ** 64n - 1n);
  });

  const wrong: [string, unknown, string][] = [
    ['maxNewTokens', 0, 'maxNewTokens must be a whole number from 1 to 2147483647, got 0'],
    ['maxNewTokens', 1.5, 'got 1.5'],
    ['maxNewTokens', '9', "got '9'"],
    ['temperature', -0.1, 'temperature must be from 0 to 1000000, got -0.1'],
    ['temperature', Number.NaN, 'got NaN'],
    ['topK', -1, 'topK'],
    ['topP', 0, 'topP must be above 0, got 0'],
    ['topP', 1.01, 'topP must be from 0 to 1, got 1.01'],
    ['minP', 2, 'minP'],
    ['repetitionPenalty', 0, 'repetitionPenalty must be above 0'],
    ['seed', 0.5, 'seed'],
    ['seed', 2n ** 64n, 'seed'],
    ['stop', '', 'stop'],
    ['stop', ['a', 3], 'stop'],
    ['stopTokenIds', [3, 100], 'stopTokenIds[1] is 100: token ids are whole numbers from 0 to 99'],
    ['stopTokenIds', 3, 'stopTokenIds must be an array of token ids, got 3'],
    ['ignoreEos', 1, 'ignoreEos'],
    ['signal', {}, 'signal must be an AbortSignal'],
  ];
  test.each(wrong)('refuses %s = %p', (name, value, message) => {
    const options = { [name]: value } as GenerationOptions;
    expect(() => samplingParams(options, model)).toThrow(OptionsError);
    expect(() => samplingParams(options, model)).toThrow(message);
  });
});
