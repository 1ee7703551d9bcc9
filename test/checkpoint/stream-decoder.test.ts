import { join } from 'node:path';
import type { Tokenizer } from '../../lib/checkpoint/tokenizer';
import { AutoTokenizer } from '../../lib/checkpoint/tokenizer';
import { StreamDecoder } from '../../lib/checkpoint/tokenizer/stream-decoder';
import { FIXTURES, SAMPLES } from './support/folder';
import { seeded } from './support/random';

const TOKENIZERS = {
  'byte-level BPE': join(SAMPLES, 'sample-llama'),
  'BPE with byte fallback': join(FIXTURES, 'tokenizers', 'sentencepiece'),
};
const TEXTS = [
  'It was a dark night, and the old man',
  '  leading and  double  spaces ',
  '你好，世界! 👩‍🚀🎉 naïve café — ok',
  '🎉'.repeat(100),
  'line\n\n\tindented\r\n',
  ' '.repeat(100),
  '',
];

function pieces(tokenizer: Tokenizer, ids: number[], skipSpecialTokens = false): string[] {
  const decoder = tokenizer.streamDecoder({ skipSpecialTokens });
  return [...ids.map((id) => decoder.push(id)), decoder.flush()];
}

describe.each(Object.entries(TOKENIZERS))('streamDecoder of %s', (_, path) => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await AutoTokenizer.fromPretrained(path);
  });

  it.each(TEXTS)('gives %j back, never a part of a character', (text) => {
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    const parts = pieces(tokenizer, ids);
    expect(parts.join('')).toBe(tokenizer.decode(ids));
    for (const part of parts) {
      expect(part).not.toContain('\uFFFD');
      expect(part).not.toMatch(/\p{Surrogate}/u);
    }
  });

  it('gives what decoding at once gives, for any ids', () => {
    const random = seeded(1);
    for (let round = 0; round < 300; round++) {
      const length = 1 + random(60);
      const ids = Array.from({ length }, () => random(tokenizer.vocabSize + 2));
      for (const skipSpecialTokens of [true, false]) {
        const whole = tokenizer.decode(ids, { skipSpecialTokens });
        expect(pieces(tokenizer, ids, skipSpecialTokens).join('')).toBe(whole);
      }
    }
  });

  it('gives what decoding at once gives, for broken byte sequences', () => {
    const random = seeded(2);
    const bytes = byteIds(tokenizer);
    for (let round = 0; round < 300; round++) {
      const ids = Array.from({ length: 1 + random(60) }, () =>
        random(8) === 0 ? random(tokenizer.vocabSize) : (bytes[random(bytes.length)] as number),
      );
      expect(pieces(tokenizer, ids).join('')).toBe(tokenizer.decode(ids));
    }
  });

  it('holds an incomplete character back until it is flushed', () => {
    const ids = tokenizer.encode('🚀', { addSpecialTokens: false }).slice(0, -1);
    const decoder = tokenizer.streamDecoder();
    const shown = ids.map((id) => decoder.push(id)).join('');
    expect(shown.trim()).toBe('');
    expect(decoder.flush()).toBe('\uFFFD');
    expect(decoder.flush()).toBe('');
  });

  it('keeps the space of a word after skipped tokens', () => {
    const [eos] = [tokenizer.eosTokenId as number];
    const word = tokenizer.encode(' night', { addSpecialTokens: false }).slice(-1);
    const first = tokenizer.encode('dark', { addSpecialTokens: false });
    const ids = [...first, ...Array.from({ length: 40 }, () => eos), ...word];
    const whole = tokenizer.decode(ids, { skipSpecialTokens: true });
    expect(pieces(tokenizer, ids, true).join('')).toBe(whole);
  });
});

/** Ids of single bytes, mostly of multi-byte characters. */
function byteIds(tokenizer: Tokenizer): number[] {
  const fallback = tokenizer.idOf('<0x80>');
  if (fallback !== undefined) return Array.from({ length: 128 }, (_, i) => fallback + i);
  const ids: number[] = [];
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    if (tokenizer.decode([id]) === '\uFFFD') ids.push(id);
  }
  return ids;
}

describe('StreamDecoder', () => {
  it('decodes a bounded number of ids per token', () => {
    let longest = 0;
    let decoded = 0;
    const decoder = new StreamDecoder((ids) => {
      longest = Math.max(longest, ids.length);
      decoded += ids.length;
      return ids.map((id) => ` ${id}`).join('');
    });
    let text = '';
    for (let id = 0; id < 10_000; id++) text += decoder.push(id);
    expect(text.split(' ')).toHaveLength(10_001);
    expect(longest).toBeLessThanOrEqual(8);
    expect(decoded / 10_000).toBeLessThan(10);
  });

  it('stays bounded when no token has text', () => {
    let longest = 0;
    const decoder = new StreamDecoder((ids) => {
      longest = Math.max(longest, ids.length);
      return '';
    });
    for (let id = 0; id < 1000; id++) expect(decoder.push(id)).toBe('');
    expect(longest).toBeLessThanOrEqual(32);
  });
});
