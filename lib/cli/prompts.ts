import { text } from 'node:stream/consumers';
import type { Tokenizer } from '../checkpoint/tokenizer';
import { OptionsError } from '../errors';

/** A prompt as given, and the ids that go into the model. */
export interface Prompt {
  text: string;
  ids: number[];
}

export interface PromptOptions {
  prompt?: string[];
  chat?: boolean;
  system?: string;
}

/**
 * The texts of `--prompt`; `-` stands for all of stdin.
 * @throws OptionsError when there is none, or stdin is asked for twice
 */
export async function promptTexts({ prompt = [] }: PromptOptions): Promise<string[]> {
  if (prompt.length === 0) {
    throw new OptionsError('give a prompt: --prompt TEXT, or --prompt - to read it from stdin');
  }
  if (prompt.filter((item) => item === '-').length > 1) {
    throw new OptionsError('stdin can be read for one prompt only');
  }
  const texts: string[] = [];
  for (const item of prompt) texts.push(item === '-' ? await text(process.stdin) : item);
  return texts;
}

/** Encodes prompts: as they are, or as a user's turn in the model's chat template. */
export function encodePrompts(
  texts: readonly string[],
  tokenizer: Tokenizer,
  { chat = false, system }: PromptOptions,
): Prompt[] {
  if (system !== undefined && !chat) throw new OptionsError('--system needs --chat');
  const before = system === undefined ? [] : [{ role: 'system', content: system }];
  return texts.map((content) => ({
    text: content,
    ids: chat
      ? tokenizer.encodeChat([...before, { role: 'user', content }], { addGenerationPrompt: true })
      : tokenizer.encode(content),
  }));
}
