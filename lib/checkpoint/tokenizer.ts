import { OptionsError } from '../errors';
import type { HubOptions } from './hub';
import { resolveTokenizer } from './hub';
import type { TokenizerBackend } from './tokenizer/backend';
import { loadBackend } from './tokenizer/backend';
import type { ChatMessage, ChatTemplateOptions } from './tokenizer/chat-template';
import { ChatTemplates } from './tokenizer/chat-template';
import type { SpecialTokenRole, TokenizerFiles } from './tokenizer/files';
import { readTokenizerFiles } from './tokenizer/files';
import { StreamDecoder } from './tokenizer/stream-decoder';

export type { ChatMessage, ChatTemplateOptions } from './tokenizer/chat-template';
export type { StreamDecoder } from './tokenizer/stream-decoder';

export interface EncodeOptions {
  /** Add what the model expects around a text, e.g. a token for its beginning; default true. */
  addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leave out tokens such as beginning and end of text; default false. */
  skipSpecialTokens?: boolean;
  /**
   * Remove spaces before punctuation, as old tokenizers did. Default false, whatever the files
   * say: it changes text (code, for example) and cannot be done on a stream.
   */
  cleanUpTokenizationSpaces?: boolean;
}

/** Text to token ids and back. */
export class Tokenizer {
  readonly bosTokenId?: number;
  readonly eosTokenId?: number;
  readonly padTokenId?: number;
  /** Number of tokens, added ones included. A model's embedding may have more rows. */
  readonly vocabSize: number;
  readonly #backend: TokenizerBackend;
  readonly #specialIds: ReadonlySet<number>;
  readonly #chatTemplates: ChatTemplates;

  /** @internal Use `AutoTokenizer.fromPretrained`. */
  constructor(backend: TokenizerBackend, files: TokenizerFiles, chatTemplates: ChatTemplates) {
    this.#backend = backend;
    this.#chatTemplates = chatTemplates;
    const idOf = (role: SpecialTokenRole): number | undefined => {
      const token = files.specialTokens[role];
      return token === undefined ? undefined : backend.token_to_id(token);
    };
    this.bosTokenId = idOf('bos_token');
    this.eosTokenId = idOf('eos_token');
    this.padTokenId = idOf('pad_token');
    this.#specialIds = specialIds(backend, files);
    // Ids without a token leave an undefined key.
    this.vocabSize = [...backend.get_vocab().keys()].filter((token) => token !== undefined).length;
  }

  /** Names of the model's chat templates; empty for most base models. */
  get chatTemplateNames(): string[] {
    return this.#chatTemplates.names;
  }

  /** Token ids of a text. @throws OptionsError when `text` is not a string */
  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    if (typeof text !== 'string') {
      throw new OptionsError(`only a string can be encoded, not ${typeof text}`);
    }
    const { ids } = this.#backend.encode(text, { add_special_tokens: addSpecialTokens });
    // A character that the vocabulary cannot express at all has no id.
    return ids.filter((id) => id !== undefined);
  }

  /**
   * Text of token ids. Ids that the tokenizer does not know (a model's embedding may be padded)
   * have no text.
   * @throws OptionsError when an id is not a whole number >= 0
   */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const list = [...ids];
    for (const id of list) checkId(id);
    return this.#decode(list, options);
  }

  /** The string of one token as the vocabulary has it, or undefined. */
  tokenOf(id: number): string | undefined {
    return this.#backend.id_to_token(id);
  }

  /** Id of a token as the vocabulary has it, or undefined. */
  idOf(token: string): number | undefined {
    return this.#backend.token_to_id(token);
  }

  /** True for tokens that mark structure, not text. */
  isSpecial(id: number): boolean {
    return this.#specialIds.has(id);
  }

  /** Decodes ids one at a time; see `StreamDecoder`. */
  streamDecoder({ skipSpecialTokens = false }: DecodeOptions = {}): StreamDecoder {
    return new StreamDecoder((ids) => this.#decode(ids, { skipSpecialTokens }));
  }

  /**
   * A conversation as the text that the model was trained on. Encode it without special tokens:
   * the template has put them in; or call `encodeChat`.
   * @throws OptionsError when the model has no chat template or it refuses the messages
   */
  applyChatTemplate(messages: readonly ChatMessage[], options?: ChatTemplateOptions): string {
    return this.#chatTemplates.render(messages, options);
  }

  /** Token ids of a conversation. @throws OptionsError as `applyChatTemplate` */
  encodeChat(messages: readonly ChatMessage[], options?: ChatTemplateOptions): number[] {
    return this.encode(this.applyChatTemplate(messages, options), { addSpecialTokens: false });
  }

  #decode(ids: readonly number[], options: DecodeOptions): string {
    const { skipSpecialTokens = false, cleanUpTokenizationSpaces = false } = options;
    const known = ids.filter(
      (id) =>
        this.#backend.id_to_token(id) !== undefined &&
        !(skipSpecialTokens && this.#specialIds.has(id)),
    );
    if (known.length === 0) return '';
    return this.#backend.decode(known, { clean_up_tokenization_spaces: cleanUpTokenizationSpaces });
  }
}

/** Loads tokenizers by model name or folder. */
export const AutoTokenizer = {
  /**
   * Loads the tokenizer of a model: of a local folder, of the Hugging Face cache, or of the hub.
   * @throws CheckpointError when there is none that can be read; HubError when it cannot be fetched
   */
  async fromPretrained(nameOrFolder: string, options: HubOptions = {}): Promise<Tokenizer> {
    return loadTokenizer(await resolveTokenizer(nameOrFolder, options));
  },
};

async function loadTokenizer(folder: string): Promise<Tokenizer> {
  const files = await readTokenizerFiles(folder);
  const backend = await loadBackend(files, folder);
  const { Template } = await import('@huggingface/jinja');
  const templates = new ChatTemplates(files.chatTemplates, files.specialTokens, Template);
  return new Tokenizer(backend, files, templates);
}

/** Tokens marked special, and those with a role in the tokenizer's configuration. */
function specialIds(
  backend: TokenizerBackend,
  { config, specialTokens }: TokenizerFiles,
): Set<number> {
  const ids = new Set<number>();
  for (const [id, token] of backend.get_added_tokens_decoder()) if (token.special) ids.add(id);
  const further = Array.isArray(config.additional_special_tokens)
    ? config.additional_special_tokens
    : [];
  for (const token of [...Object.values(specialTokens), ...further]) {
    const id = typeof token === 'string' ? backend.token_to_id(token) : undefined;
    if (id !== undefined) ids.add(id);
  }
  return ids;
}

function checkId(id: unknown): void {
  if (!Number.isSafeInteger(id) || (id as number) < 0) {
    throw new OptionsError(`${String(id)} is not a token id: give whole numbers >= 0`);
  }
}
