import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { AutoTokenizer } from '../checkpoint/tokenizer';
import { CheckpointError, OptionsError } from '../errors';

/** Where the ids of an evaluation come from: exactly one of these. */
export interface TextSourceOptions {
  text?: string;
  ids?: string;
}

export function addTextSource(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--text <file>',
        'UTF-8 text; tokenized as a whole, without special tokens, then cut into windows',
      ).conflicts('ids'),
    )
    .option('--ids <file>', 'token ids, unsigned 16-bit, little-endian');
}

/**
 * The token ids of a text or id file.
 * @param folder of the model whose tokenizer is used
 * @throws OptionsError when no file is named or it holds no ids, CheckpointError when it cannot be
 * read
 */
export async function readIds(
  { text, ids }: TextSourceOptions,
  folder: string,
): Promise<ArrayLike<number>> {
  if (ids !== undefined) return decodeIds(await read(ids), ids);
  if (text === undefined) throw new OptionsError('name a file with --text or --ids');
  const content = (await read(text)).toString('utf8');
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  return tokenizer.encode(content, { addSpecialTokens: false });
}

function decodeIds(bytes: Buffer, path: string): Uint16Array {
  if (bytes.length === 0 || bytes.length % 2 !== 0) {
    throw new OptionsError(
      `${path} has ${bytes.length} bytes: a file of 16-bit ids has a positive, even number of them`,
    );
  }
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readUInt16LE(2 * i));
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const { message } = cause as Error;
    throw new CheckpointError(`${path} cannot be read: ${message}`, { cause });
  }
}
