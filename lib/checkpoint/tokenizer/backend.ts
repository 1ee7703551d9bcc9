import { CheckpointError } from '../../errors';
import type { TokenizerFiles } from './files';

/** The part of @huggingface/tokenizers in use; its own declarations do not resolve from CommonJS. */
export interface TokenizerBackend {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  /** Fails on an empty list and on unknown ids. */
  decode(ids: readonly number[], options: { clean_up_tokenization_spaces: boolean }): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_added_tokens_decoder(): Map<number, { special?: boolean }>;
  /** Ids without a token share an undefined key. */
  get_vocab(): Map<string | undefined, number>;
}

/**
 * Builds the tokenizer that the files describe.
 * @param where names the folder in errors
 * @throws CheckpointError when the library cannot make sense of the files
 */
export async function loadBackend(files: TokenizerFiles, where: string): Promise<TokenizerBackend> {
  const { Tokenizer } = await import('@huggingface/tokenizers');
  try {
    return new Tokenizer(files.tokenizer, files.config) as TokenizerBackend;
  } catch (cause) {
    const { message } = cause as Error;
    throw new CheckpointError(`the tokenizer of ${where} cannot be loaded: ${message}`, { cause });
  }
}
