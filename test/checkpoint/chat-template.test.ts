import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Tokenizer } from '../../lib/checkpoint/tokenizer';
import { AutoTokenizer } from '../../lib/checkpoint/tokenizer';
import { CheckpointError, OptionsError } from '../../lib/errors';
import { FIXTURES, SAMPLES, useFolder, writeJson } from './support/folder';

const folder = useFolder();
const SIMPLE =
  "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}" +
  '{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}';

async function load(chat_template?: unknown): Promise<Tokenizer> {
  cpSync(join(FIXTURES, 'tokenizers', 'sentencepiece'), folder.path, { recursive: true });
  const config = { bos_token: '<s>', eos_token: '</s>', chat_template };
  writeJson(folder.file('tokenizer_config.json'), config);
  return AutoTokenizer.fromPretrained(folder.path);
}

const messages = [
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: 'Hello' },
];

describe('applyChatTemplate', () => {
  it('renders the template of tokenizer_config.json', async () => {
    const tokenizer = await load(SIMPLE);
    expect(tokenizer.applyChatTemplate(messages)).toBe('<s>[user]Hi</s>[assistant]Hello</s>');
    const prompt = tokenizer.applyChatTemplate(messages.slice(0, 1), { addGenerationPrompt: true });
    expect(prompt).toBe('<s>[user]Hi</s>[assistant]');
  });

  it('encodes without adding special tokens a second time', async () => {
    const ids = (await load(SIMPLE)).encodeChat(messages);
    expect(ids.filter((id) => id === 1)).toEqual([1]);
    expect(ids[0]).toBe(1);
    expect(ids.at(-1)).toBe(2);
  });

  it('prefers chat_template.jinja', async () => {
    await load(SIMPLE);
    writeFileSync(folder.file('chat_template.jinja'), 'file {{ messages | length }}');
    const tokenizer = await AutoTokenizer.fromPretrained(folder.path);
    expect(tokenizer.applyChatTemplate(messages)).toBe('file 2');
  });

  it('reads chat_template.json', async () => {
    await load();
    writeJson(folder.file('chat_template.json'), { chat_template: 'json' });
    const tokenizer = await AutoTokenizer.fromPretrained(folder.path);
    expect(tokenizer.applyChatTemplate(messages)).toBe('json');
  });

  it('picks among named templates', async () => {
    const tokenizer = await load([
      { name: 'default', template: 'plain' },
      { name: 'tool_use', template: 'tools: {{ tools[0].function.name }}' },
      { name: 'rag', template: '{{ documents[0].title }}' },
    ]);
    const tools = [{ type: 'function', function: { name: 'add' } }];
    expect(tokenizer.chatTemplateNames).toEqual(['default', 'tool_use', 'rag']);
    expect(tokenizer.applyChatTemplate(messages)).toBe('plain');
    expect(tokenizer.applyChatTemplate(messages, { tools })).toBe('tools: add');
    const documents = [{ title: 'T' }];
    expect(tokenizer.applyChatTemplate(messages, { chatTemplate: 'rag', documents })).toBe('T');
    expect(tokenizer.applyChatTemplate(messages, { chatTemplate: 'own {{ 1 + 1 }}' })).toBe(
      'own 2',
    );
  });

  it('gives templates none for what was not passed, and further variables', async () => {
    const tokenizer = await load('{{ tools is none }}{{ documents is none }}{{ thinking }}');
    const variables = { thinking: 'no' };
    expect(tokenizer.applyChatTemplate(messages, { variables })).toBe('truetrueno');
  });

  it('lets templates ask for the date', async () => {
    const tokenizer = await load("{{ strftime_now('%Y') }}");
    expect(tokenizer.applyChatTemplate(messages)).toBe(String(new Date().getFullYear()));
  });

  it('passes on why a template refuses', async () => {
    const tokenizer = await load("{{ raise_exception('roles must alternate') }}");
    expect(() => tokenizer.applyChatTemplate(messages)).toThrow(OptionsError);
    expect(() => tokenizer.applyChatTemplate(messages)).toThrow(/roles must alternate/);
  });

  it('refuses a base model and a broken template', async () => {
    const base = await AutoTokenizer.fromPretrained(join(SAMPLES, 'sample-llama'));
    expect(() => base.applyChatTemplate(messages)).toThrow(/no default chat template.*base model/);
    const broken = await load('{% for m in %}');
    expect(() => broken.applyChatTemplate(messages)).toThrow(CheckpointError);
  });
});
