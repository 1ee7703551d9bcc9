import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { createGunzip, gunzip } from 'node:zlib';
import { isJsonObject } from '../checkpoint/json';
import { CheckpointError } from '../errors';
import { readParquetColumn } from './parquet';

const NEWLINE = 0x0a;

/**
 * The texts in a file: all of a plain one, or the field of each row of a .jsonl, .json (an array) or
 * .parquet one; the first three may be compressed (.gz).
 * @throws CheckpointError when it cannot be read or a row has no such field
 */
export async function readTexts(path: string, field: string): Promise<string[]> {
  const kind = /\.(parquet|jsonl|ndjson|json)(\.gz)?$/i.exec(path)?.[1]?.toLowerCase();
  if (kind === 'parquet') return readParquetColumn(path, field);
  if (kind === 'jsonl' || kind === 'ndjson') {
    const texts: string[] = [];
    for await (const line of readLines(path)) texts.push(textOfLine(line, field, path));
    return texts;
  }
  const content = decode(await readWhole(path), path);
  return kind === 'json' ? textsOfArray(content, field, path) : [content];
}

/** The lines of a (compressed) file that are not empty, as bytes. */
export async function* readLines(path: string): AsyncGenerator<Buffer> {
  const file = createReadStream(path);
  const stream = path.endsWith('.gz') ? file.pipe(createGunzip()) : file;
  file.on('error', (error) => stream.destroy(error));
  let rest: Buffer[] = [];
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let begin = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, begin)) {
        // A copy, so that a line kept does not keep its whole chunk.
        const line = Buffer.concat([...rest, chunk.subarray(begin, end)]);
        if (line.length > 0) yield line;
        rest = [];
        begin = end + 1;
      }
      if (begin < chunk.length) rest.push(chunk.subarray(begin));
    }
  } catch (cause) {
    throw unreadable(path, cause);
  }
  const last = Buffer.concat(rest);
  if (last.length > 0) yield last;
}

/** The text in a line of JSON. @throws CheckpointError when there is none */
export function textOfLine(line: Buffer, field: string, path: string): string {
  let row: unknown;
  try {
    row = JSON.parse(line.toString('utf8'));
  } catch (cause) {
    throw unreadable(path, cause);
  }
  return textOf(row, field, path);
}

function textsOfArray(content: string, field: string, path: string): string[] {
  let rows: unknown;
  try {
    rows = JSON.parse(content);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (Array.isArray(rows)) return rows.map((row) => textOf(row, field, path));
  throw new CheckpointError(`${path} does not hold a JSON array of texts`);
}

function textOf(row: unknown, field: string, path: string): string {
  if (typeof row === 'string') return row;
  const text = isJsonObject(row) ? row[field] : undefined;
  if (typeof text === 'string') return text;
  const found = isJsonObject(row) ? `only ${Object.keys(row).join(', ')}` : typeof row;
  throw new CheckpointError(`${path}: a row has no text under '${field}', ${found}`);
}

async function readWhole(path: string): Promise<Buffer> {
  try {
    const bytes = await readFile(path);
    return path.endsWith('.gz') ? await promisify(gunzip)(bytes) : bytes;
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function decode(bytes: Buffer, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CheckpointError(`${path} is not UTF-8 text`, { cause });
  }
}

function unreadable(path: string, cause: unknown): CheckpointError {
  if (cause instanceof CheckpointError) return cause;
  return new CheckpointError(`${path} cannot be read: ${(cause as Error).message}`, { cause });
}
