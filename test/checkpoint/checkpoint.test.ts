import { cpSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint';
import { CheckpointError } from '../../lib/errors';
import { SAMPLES, useFolder, writeJson } from './support/folder';
import { writeTensors } from './support/raw-safetensors';

const folder = useFolder();
const LLAMA = join(SAMPLES, 'sample-llama');

beforeEach(() => writeJson(folder.file('config.json'), { model_type: 'llama' }));

const INDEX = 'model.safetensors.index.json';
const writeIndex = (map: unknown) => writeJson(folder.file(INDEX), { weight_map: map });

describe('openCheckpoint', () => {
  it('opens the sample models', async () => {
    const llama = await openCheckpoint(LLAMA);
    expect(llama.config).toMatchObject({ modelType: 'llama', hiddenSize: 256, eosTokenIds: [2] });
    expect(llama.tensor('model.norm.weight')).toMatchObject({ dtype: 'f16', shape: [256] });
    expect(llama.has('lm_head.weight')).toBe(false);
    expect(llama.tensorBytes).toBe(2 * 4_196_608);
    const opt = await openCheckpoint(join(SAMPLES, 'sample-opt'));
    expect(opt.config).toMatchObject({ modelType: 'opt', ffnDim: 1024 });
    expect(opt.generationConfig).toMatchObject({ bosTokenId: 1, eosTokenIds: [2] });
  });

  it('takes token ids from generation_config.json', async () => {
    writeTensors(folder.file('model.safetensors'), 'a');
    writeJson(folder.file('generation_config.json'), { eos_token_id: [2, 7], temperature: 0.6 });
    const { config, generationConfig } = await openCheckpoint(folder.path);
    expect(config).toMatchObject({ bosTokenId: 1, eosTokenIds: [2, 7] });
    expect(generationConfig.temperature).toBe(0.6);
  });

  it('refuses a damaged generation_config.json', async () => {
    writeTensors(folder.file('model.safetensors'), 'a');
    writeJson(folder.file('generation_config.json'), { temperature: 'hot' });
    await expect(openCheckpoint(folder.path)).rejects.toThrow(/generation_config.*temperature/);
  });

  it('names the nearest tensors when one is missing', async () => {
    const checkpoint = await openCheckpoint(LLAMA);
    expect(() => checkpoint.tensor('transformer.layers.0.mlp.up_proj.weight')).toThrow(
      /holds no tensor.*model\.layers\.0\.mlp\.up_proj\.weight/,
    );
  });

  it('says when the configuration is missing or damaged', async () => {
    rmSync(folder.file('config.json'));
    await expect(openCheckpoint(folder.path)).rejects.toThrow(
      /config\.json cannot be read.*ENOENT/,
    );
    writeFileSync(folder.file('config.json'), '{"a":1,"a":2}');
    await expect(openCheckpoint(folder.path)).rejects.toThrow(/occurs twice/);
    writeFileSync(folder.file('config.json'), '[]');
    await expect(openCheckpoint(folder.path)).rejects.toThrow(CheckpointError);
    await expect(openCheckpoint(folder.file('none'))).rejects.toThrow(CheckpointError);
  });

  it('does not follow a polluting config', async () => {
    writeTensors(folder.file('model.safetensors'), 'a');
    const text = '{"model_type":"llama","__proto__":{"hidden_size":7},"constructor":{}}';
    writeFileSync(folder.file('config.json'), text);
    expect((await openCheckpoint(folder.path)).config.hiddenSize).toBe(4096);
  });
});

describe('weights', () => {
  it('opens shards through the index', async () => {
    writeTensors(folder.file('model-00001-of-00002.safetensors'), 'a', 'b');
    writeTensors(folder.file('model-00002-of-00002.safetensors'), 'c');
    const [one, two] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
    writeIndex({ a: one, b: one, c: two });
    const { tensors, files } = await openCheckpoint(folder.path);
    expect([...tensors.keys()]).toEqual(['a', 'b', 'c']);
    expect(tensors.get('c')?.file).toBe(folder.file(two as string));
    expect(files).toHaveLength(2);
  });

  it('opens shards that are links, as in the hub cache', async () => {
    writeTensors(folder.file('blob'), 'a');
    symlinkSync('blob', folder.file('model.safetensors'));
    expect((await openCheckpoint(folder.path)).has('a')).toBe(true);
  });

  it('opens a single file of another name, beside files that are not the model', async () => {
    writeTensors(folder.file('gptq_model-4bit-128g.safetensors'), 'a');
    writeTensors(folder.file('consolidated.safetensors'), 'b');
    writeTensors(folder.file('adapter_model.safetensors'), 'c');
    expect([...(await openCheckpoint(folder.path)).tensors.keys()]).toEqual(['a']);
  });

  it('refuses several files without an index', async () => {
    writeTensors(folder.file('a.safetensors'), 'a');
    writeTensors(folder.file('b.safetensors'), 'b');
    await expect(openCheckpoint(folder.path)).rejects.toThrow(/a\.safetensors, b\.safetensors/);
  });

  it.each(['../x.safetensors', '/etc/x.safetensors', 'a/b.safetensors', '..\\x.safetensors'])(
    'refuses an index that leads to %s',
    async (file) => {
      writeTensors(folder.file('model-1.safetensors'), 'a');
      writeIndex({ a: file });
      await expect(openCheckpoint(folder.path)).rejects.toThrow(
        /not the name of a safetensors file/,
      );
    },
  );

  it.each([[undefined], [[]], [{}], [{ a: 1 }], [{ a: 'pytorch_model.bin' }], ['x']])(
    'refuses the weight map %j',
    async (map) => {
      writeIndex(map);
      await expect(openCheckpoint(folder.path)).rejects.toThrow(CheckpointError);
    },
  );

  it('names missing shards and misplaced tensors', async () => {
    writeTensors(folder.file('one.safetensors'), 'a');
    writeIndex({ a: 'one.safetensors', b: 'two.safetensors' });
    await expect(openCheckpoint(folder.path)).rejects.toThrow(
      /lacks 1 of the 2 .*two\.safetensors/,
    );
    writeTensors(folder.file('two.safetensors'), 'c');
    await expect(openCheckpoint(folder.path)).rejects.toThrow(/"b" is not in two\.safetensors/);
  });

  it.each([
    ['pytorch_model.bin', /pickle.*safe_serialization=True/s],
    ['pytorch_model-00001-of-00002.bin', /pickle.*spaces\/safetensors\/convert/s],
    ['consolidated.00.pth', /pickle/],
    ['model.pt', /pickle/],
    ['model-q4.gguf', /GGUF.*original safetensors/s],
    ['tf_model.h5', /another framework/],
    ['adapter_model.safetensors', /adapter.*merge_and_unload/s],
    ['readme.txt', /holds no safetensors files/],
  ])('refuses a folder with only %s', async (name, message) => {
    writeFileSync(folder.file(name), 'x');
    const opening = openCheckpoint(folder.path);
    await expect(opening).rejects.toThrow(CheckpointError);
    await expect(opening).rejects.toThrow(message);
  });

  it('prefers safetensors to pickle files', async () => {
    writeFileSync(folder.file('pytorch_model.bin'), 'x');
    writeTensors(folder.file('model.safetensors'), 'a');
    expect((await openCheckpoint(folder.path)).has('a')).toBe(true);
  });

  it('names the damaged file of a copied model', async () => {
    cpSync(LLAMA, folder.path, { recursive: true });
    const path = folder.file('model.safetensors');
    writeFileSync(`${path}.part`, readFileSync(path).subarray(0, -100));
    renameSync(`${path}.part`, path);
    await expect(openCheckpoint(folder.path)).rejects.toThrow(
      /model\.safetensors: tensor .*has only/,
    );
  });
});
