import { join } from 'node:path';
import { AutoModelForCausalLM } from '../../lib';
import { LinearGptq } from '../../lib/quant/gptq';
import { Folders } from '../support/checkpoints';
import { goldenFolder, type RawTensor, readTensors, relativeError } from '../support/golden';
import { gptqVariant, int32, type Tensors, type Variant } from '../support/gptq-checkpoint';
import { fromHalf, toHalf } from '../support/half';

const folders = new Folders();
afterAll(() => folders.dispose());

const GOLDEN = 'gptq-8bit-g32-sym-v1';
const HEAD = 'lm_head';
const EMBEDDING = 'model.embed_tokens.weight';
const SCALE = 2 ** -7;
const PROMPT = [3, 200, 17, 99, 301];

const variant = (change: Variant) => gptqVariant(folders, GOLDEN, change);
const open = (folder: string) => AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });

async function logits(folder: string): Promise<Float32Array> {
  await using model = await open(folder);
  return (await model.forward([PROMPT])).logits;
}

const halvesOf = ({ bytes }: RawTensor) => new Uint16Array(bytes.buffer);
const rawHalves = (shape: number[], data: Uint16Array): RawTensor => ({
  dtype: 'F16',
  shape,
  bytes: new Uint8Array(data.buffer),
});

/** A matrix [N, K] in 8 bits with one scale, in the format's tensors and in 16 bits. */
function rounded(source: RawTensor) {
  const [n, k] = source.shape as [number, number];
  const weight = halvesOf(source);
  const words = new Int32Array((n * k) / 4);
  const plain = new Uint16Array(n * k);
  for (let row = 0; row < k; row++) {
    for (let col = 0; col < n; col++) {
      const level = Math.round(fromHalf(weight[col * k + row] as number) / SCALE);
      const code = Math.max(0, Math.min(255, level + 128));
      const at = (row >> 2) * n + col;
      words[at] = (words[at] as number) | (code << (8 * (row & 3)));
      plain[col * k + row] = toHalf(SCALE * (code - 128)).bits;
    }
  }
  const groups = k / 32;
  const packed = (tensors: Tensors) => {
    tensors.set(`${HEAD}.qweight`, int32([k / 4, n], words));
    const zeros = new Array<number>((groups * n) / 4).fill(0x7f7f7f7f);
    tensors.set(`${HEAD}.qzeros`, int32([groups, n / 4], zeros));
    const scales = new Uint16Array(groups * n).fill(toHalf(SCALE).bits);
    tensors.set(`${HEAD}.scales`, rawHalves([groups, n], scales));
  };
  return { packed, plain: rawHalves([n, k], plain) };
}

const tensors = readTensors(join(goldenFolder(GOLDEN), 'model.safetensors'));
const own = rounded(tensors.get(`${HEAD}.weight`) as RawTensor);
/** A head that is the rounded embedding. */
const shared = rounded(tensors.get(EMBEDDING) as RawTensor);

/** Logits with a head in 16 bits. */
const logitsWith = async (head: RawTensor) =>
  logits(await variant({ tensors: (all) => all.set(`${HEAD}.weight`, head) }));

test('a quantized head beside an embedding of its own', async () => {
  const folder = await variant({
    quantization: { lm_head: true },
    tensors: (all) => {
      all.delete(`${HEAD}.weight`);
      own.packed(all);
    },
  });
  await using model = await open(folder);
  expect(model.transformer.modules.at(-1)).toBeInstanceOf(LinearGptq);
  const { logits: found } = await model.forward([PROMPT]);
  expect(relativeError(found, await logitsWith(own.plain))).toBeLessThan(1e-6);
});

test('a quantized head although the configuration ties it to the embedding', async () => {
  const folder = await variant({
    config: { tie_word_embeddings: true },
    quantization: { lm_head: true },
    tensors: (all) => {
      all.delete(`${HEAD}.weight`);
      shared.packed(all);
    },
  });
  await using model = await open(folder);
  const head = model.transformer.modules.at(-1);
  expect(head).toBeInstanceOf(LinearGptq);
  expect(head?.name).toBe(HEAD);
  const { logits: found } = await model.forward([PROMPT]);
  expect(relativeError(found, await logitsWith(shared.plain))).toBeLessThan(1e-6);

  const saved = folders.path();
  await model.savePretrained(saved);
  expect(await logits(saved)).toEqual(found);
  const names = [...readTensors(join(saved, 'model.safetensors')).keys()];
  expect(names).toContain(`${HEAD}.qweight`);
  expect(names).toContain(EMBEDDING);
  expect(names).not.toContain(`${HEAD}.weight`);
});

test('a tied head in 16 bits', async () => {
  const folder = await variant({
    config: { tie_word_embeddings: true },
    tensors: (all) => all.delete(`${HEAD}.weight`),
  });
  await using model = await open(folder);
  expect(model.transformer.modules.at(-1)?.method).toBe('tied');
});
