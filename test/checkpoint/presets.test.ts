import type {
  BitnetConfig,
  LlamaConfig,
  ModelConfig,
  OptConfig,
} from '../../lib/checkpoint/config';
import { PRESET_NAMES, presetConfig } from '../../lib/checkpoint/presets';
import { OptionsError } from '../../lib/errors';

function llamaParameters(c: LlamaConfig): number {
  const kv = c.numKeyValueHeads * c.headDim;
  const attention = 2 * c.hiddenSize ** 2 + 2 * c.hiddenSize * kv;
  const layer = attention + 3 * c.hiddenSize * c.intermediateSize + 2 * c.hiddenSize;
  return 2 * c.vocabSize * c.hiddenSize + c.numHiddenLayers * layer + c.hiddenSize;
}

function optParameters(c: OptConfig): number {
  const attention = 4 * (c.hiddenSize ** 2 + c.hiddenSize);
  const feedForward = 2 * c.hiddenSize * c.ffnDim + c.ffnDim + c.hiddenSize;
  const layer = attention + feedForward + 4 * c.hiddenSize;
  const projections =
    c.wordEmbedProjDim === c.hiddenSize ? 0 : 2 * c.wordEmbedProjDim * c.hiddenSize;
  const finalNorm = c.doLayerNormBefore ? 2 * c.hiddenSize : 0;
  // OPT's position embedding has two rows more than positions.
  const embeddings =
    c.vocabSize * c.wordEmbedProjDim + (c.maxPositionEmbeddings + 2) * c.hiddenSize;
  return embeddings + projections + c.numHiddenLayers * layer + finalNorm;
}

const parameters = (config: ModelConfig): number =>
  config.modelType === 'llama' ? llamaParameters(config) : optParameters(config as OptConfig);

it.each([
  ['llama-2-7b', 6_738_415_616],
  ['llama-2-13b', 13_015_864_320],
  ['llama-2-70b', 68_976_648_192],
  ['llama-3-8b', 8_030_261_248],
  ['opt-125m', 125_239_296],
  ['opt-350m', 331_196_416],
  ['opt-1.3b', 1_315_758_080],
  ['opt-6.7b', 6_658_473_984],
  ['opt-13b', 12_853_473_280],
  ['opt-30b', 29_974_540_288],
])('%s has the published number of parameters', (name, count) => {
  expect(parameters(presetConfig(name))).toBe(count);
});

it('bitnet-2b-4t has the published shape', () => {
  const config = presetConfig('bitnet-2b-4t') as BitnetConfig;
  const { hiddenSize, intermediateSize, numHiddenLayers, headDim, numKeyValueHeads } = config;
  const attention = 2 * hiddenSize * (hiddenSize + numKeyValueHeads * headDim);
  const linear = numHiddenLayers * (attention + 3 * hiddenSize * intermediateSize);
  expect(linear).toBe(2_084_044_800);
  expect(config.vocabSize * hiddenSize).toBe(328_335_360);
  expect(config).toMatchObject({ dtype: 'bf16', hiddenAct: 'relu2', tieWordEmbeddings: true });
});

it.each([
  ['opt-66b', 66e9],
  ['opt-175b', 175e9],
])('%s is about as large as its name says', (name, count) => {
  expect(parameters(presetConfig(name)) / count).toBeCloseTo(1, 1);
});

it('refuses an unknown name', () => {
  expect(PRESET_NAMES).toHaveLength(13);
  expect(() => presetConfig('gpt-5')).toThrow(OptionsError);
  expect(() => presetConfig('toString')).toThrow(/use one of llama-2-7b/);
});
