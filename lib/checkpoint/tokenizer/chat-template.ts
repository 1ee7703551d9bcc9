import type { Template } from '@huggingface/jinja';
import { CheckpointError, OptionsError } from '../../errors';
import type { JsonObject } from '../json';

/** One turn of a conversation. Which other keys count is up to the model's template. */
export interface ChatMessage {
  role: string;
  content?: string | null | readonly unknown[];
  [key: string]: unknown;
}

export interface ChatTemplateOptions {
  /** End with what makes the model answer. */
  addGenerationPrompt?: boolean;
  /** JSON schemas of functions that the model may call. */
  tools?: readonly JsonObject[];
  /** Documents for models whose template takes them. */
  documents?: readonly JsonObject[];
  /** Name of one of the model's templates, or a template of your own. */
  chatTemplate?: string;
  /** Further variables, e.g. `{ enable_thinking: false }`. */
  variables?: JsonObject;
}

const DEFAULT_NAME = 'default';
const TOOL_NAME = 'tool_use';

/** The chat templates of a model: Jinja texts by name. */
export class ChatTemplates {
  readonly #sources: ReadonlyMap<string, string>;
  readonly #specialTokens: JsonObject;
  readonly #TemplateClass: typeof Template;
  readonly #compiled = new Map<string, Template>();

  /**
   * @param specialTokens `bos_token`, `eos_token` and so on, as templates see them
   * @param TemplateClass of the Jinja library, which is loaded with the tokenizer
   */
  constructor(
    sources: ReadonlyMap<string, string>,
    specialTokens: JsonObject,
    TemplateClass: typeof Template,
  ) {
    this.#sources = sources;
    this.#specialTokens = specialTokens;
    this.#TemplateClass = TemplateClass;
  }

  get names(): string[] {
    return [...this.#sources.keys()];
  }

  /**
   * The conversation as the text that the model was trained on.
   * @throws OptionsError when there is no template, or the template refuses the messages
   * @throws CheckpointError when the template cannot be parsed
   */
  render(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    const template = this.#compile(this.#pick(options));
    const { tools, documents, variables, addGenerationPrompt = false } = options;
    try {
      return template.render({
        ...this.#specialTokens,
        messages,
        // Templates test for none, not for undefined.
        tools: tools ?? null,
        documents: documents ?? null,
        add_generation_prompt: addGenerationPrompt,
        ...variables,
      });
    } catch (cause) {
      const { message } = cause as Error;
      throw new OptionsError(`the chat template refuses this conversation: ${message}`, { cause });
    }
  }

  #pick({ chatTemplate, tools }: ChatTemplateOptions): string {
    if (chatTemplate !== undefined) return this.#sources.get(chatTemplate) ?? chatTemplate;
    const forTools = tools && this.#sources.get(TOOL_NAME);
    const source = forTools ?? this.#sources.get(DEFAULT_NAME);
    if (source !== undefined) return source;
    const named = this.names.length > 0 ? ` (there are ${this.names.join(', ')})` : '';
    throw new OptionsError(
      `this model has no default chat template${named}: it may be a base model. Pass chatTemplate, ` +
        'or build the prompt yourself.',
    );
  }

  #compile(source: string): Template {
    let template = this.#compiled.get(source);
    if (!template) {
      try {
        template = new this.#TemplateClass(source);
      } catch (cause) {
        const { message } = cause as Error;
        throw new CheckpointError(`the chat template cannot be parsed: ${message}`, { cause });
      }
      this.#compiled.set(source, template);
    }
    return template;
  }
}
