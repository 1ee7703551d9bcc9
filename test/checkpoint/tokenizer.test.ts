import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoTokenizer } from '../../lib/checkpoint/tokenizer';
import { CheckpointError, OptionsError } from '../../lib/errors';
import { FIXTURES, SAMPLES, useFolder, writeJson } from './support/folder';

interface Case {
  text: string;
  ids: number[];
  plain: number[];
  decoded: string;
  full: string;
}

const TOKENIZERS = {
  'sample-llama': join(SAMPLES, 'sample-llama'),
  sentencepiece: join(FIXTURES, 'tokenizers', 'sentencepiece'),
  gpt2: join(FIXTURES, 'tokenizers', 'gpt2'),
};

/** Made with the Python package tokenizers 0.23. */
const expected = JSON.parse(
  readFileSync(join(FIXTURES, 'tokenizers', 'expected.json'), 'utf8'),
) as Record<keyof typeof TOKENIZERS, Case[]>;

const folder = useFolder();

describe.each(Object.entries(TOKENIZERS))('tokenizer %s', (name, path) => {
  const cases = expected[name as keyof typeof TOKENIZERS];

  it.each(cases)('encodes $text', async ({ text, ids, plain }) => {
    const tokenizer = await AutoTokenizer.fromPretrained(path);
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(plain);
  });

  it.each(cases)('decodes $text', async ({ ids, decoded }) => {
    const tokenizer = await AutoTokenizer.fromPretrained(path);
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(decoded);
  });
});

describe('AutoTokenizer', () => {
  it('encodes the prompt of the sample model', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(TOKENIZERS['sample-llama']);
    const ids = [1, 855, 326, 261, 1232, 922, 14, 285, 263, 752, 465];
    expect(tokenizer.encode('It was a dark night, and the old man')).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe('<s>It was a dark night, and the old man');
  });

  it('knows its special tokens and size', async () => {
    const llama = await AutoTokenizer.fromPretrained(TOKENIZERS['sample-llama']);
    expect(llama).toMatchObject({ bosTokenId: 1, eosTokenId: 2, padTokenId: 0, vocabSize: 4096 });
    const opt = await AutoTokenizer.fromPretrained(TOKENIZERS.gpt2);
    expect(opt).toMatchObject({ bosTokenId: 2, eosTokenId: 2, padTokenId: 1, vocabSize: 420 });
    const other = await AutoTokenizer.fromPretrained(TOKENIZERS.sentencepiece);
    expect(other).toMatchObject({ bosTokenId: 1, eosTokenId: 2, vocabSize: 700 });
    expect(other.padTokenId).toBeUndefined();
    expect(other.isSpecial(2)).toBe(true);
    expect(other.isSpecial(300)).toBe(false);
    expect(other.tokenOf(other.idOf('</s>') as number)).toBe('</s>');
  });

  it('takes special tokens from special_tokens_map.json', async () => {
    cpSync(join(TOKENIZERS.sentencepiece, 'tokenizer.json'), folder.file('tokenizer.json'));
    writeJson(folder.file('special_tokens_map.json'), { eos_token: { content: '</s>' } });
    expect(await AutoTokenizer.fromPretrained(folder.path)).toMatchObject({ eosTokenId: 2 });
  });

  it('gives unknown ids no text, and refuses what is no id', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(TOKENIZERS.sentencepiece);
    const ids = tokenizer.encode('night', { addSpecialTokens: false });
    expect(tokenizer.decode([...ids, 1_000_000])).toBe('night');
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.decode([1_000_000])).toBe('');
    expect(() => tokenizer.decode([-1])).toThrow(OptionsError);
    expect(() => tokenizer.decode([1.5])).toThrow(OptionsError);
    expect(() => tokenizer.decode(['1' as unknown as number])).toThrow(OptionsError);
    expect(() => tokenizer.encode(7 as unknown as string)).toThrow(OptionsError);
  });

  it('cleans up spaces only when asked', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(TOKENIZERS.sentencepiece);
    const ids = tokenizer.encode('c , d .', { addSpecialTokens: false });
    expect(tokenizer.decode(ids)).toBe('c , d .');
    expect(tokenizer.decode(ids, { cleanUpTokenizationSpaces: true })).toBe('c, d.');
  });

  it('reads added_tokens.json beside vocab.json', async () => {
    cpSync(TOKENIZERS.gpt2, folder.path, { recursive: true });
    writeJson(folder.file('added_tokens.json'), { '<extra>': 420 });
    const tokenizer = await AutoTokenizer.fromPretrained(folder.path);
    expect(tokenizer.vocabSize).toBe(421);
    expect(tokenizer.encode('a<extra>', { addSpecialTokens: false })).toContain(420);
  });

  it('refuses a SentencePiece model alone, with advice', async () => {
    writeFileSync(folder.file('tokenizer.model'), 'x');
    const loading = AutoTokenizer.fromPretrained(folder.path);
    await expect(loading).rejects.toThrow(CheckpointError);
    await expect(loading).rejects.toThrow(/only tokenizer\.model.*save_pretrained/s);
  });

  it('refuses a folder without tokenizer, and damaged files', async () => {
    await expect(AutoTokenizer.fromPretrained(folder.path)).rejects.toThrow(/no tokenizer files/);
    writeFileSync(folder.file('tokenizer.json'), '{"model":');
    await expect(AutoTokenizer.fromPretrained(folder.path)).rejects.toThrow(CheckpointError);
    writeJson(folder.file('tokenizer.json'), { model: { type: 'BPE' } });
    await expect(AutoTokenizer.fromPretrained(folder.path)).rejects.toThrow(CheckpointError);
  });

  it('refuses merges that are no pairs', async () => {
    cpSync(TOKENIZERS.gpt2, folder.path, { recursive: true });
    writeFileSync(folder.file('merges.txt'), '#version: 0.2\na b c\n');
    await expect(AutoTokenizer.fromPretrained(folder.path)).rejects.toThrow(/not a pair of tokens/);
  });
});
