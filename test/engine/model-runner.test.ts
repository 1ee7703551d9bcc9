import { BlockManager } from '../../lib/engine/block-manager';
import { engineSizes } from '../../lib/engine/engine-options';
import { ModelRunner } from '../../lib/engine/model-runner';
import { samplingParams } from '../../lib/engine/sampling-params';
import { Sequence } from '../../lib/engine/sequence';
import { promptOf, TinyModel } from './tiny-model';

let model: TinyModel;
beforeAll(() => {
  model = new TinyModel();
});
afterAll(() => model.dispose());

test('a sequence that got other pages is written anew, though it is as long as before', async () => {
  const sizes = engineSizes(model, { pageSize: 8, pages: 16, maxBatch: 2 });
  const runner = new ModelRunner(model, sizes);
  const blocks = new BlockManager(sizes.pages, sizes.pageSize);
  const params = samplingParams({ maxNewTokens: 8 }, { vocabSize: 97, eosTokenIds: [] });
  const sequence = new Sequence(promptOf(20), params, sizes.maxContext);
  const expected = model.greedy(promptOf(20), 4);

  blocks.extend(sequence.pages, 24);
  const [first] = await runner.prefill.run([{ sequence, begin: 0, end: 20 }]);
  sequence.tokens.push(first as number);
  const [second] = await runner.decode.run([sequence]);
  sequence.tokens.push(second as number);

  // The pages go to somebody else, who writes to them.
  const others: number[] = [];
  blocks.release(sequence.pages);
  blocks.extend(others, 24);
  for (const { key, value } of runner.cache.layers) {
    for (const tensor of [key, value]) tensor.write(new Float32Array(tensor.elements).fill(9));
  }
  sequence.evictions++;
  blocks.extend(sequence.pages, 24);
  const [unsampled] = await runner.prefill.run([{ sequence, begin: 0, end: 21 }]);
  expect(unsampled).toBe(-1);
  const [third] = await runner.decode.run([sequence]);
  sequence.tokens.push(third as number);
  const [fourth] = await runner.decode.run([sequence]);
  expect([first, second, third, fourth]).toEqual(expected);
  runner.dispose();
});
