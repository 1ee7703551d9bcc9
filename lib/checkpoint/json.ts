import { readFile, stat } from 'node:fs/promises';
import { CheckpointError } from '../errors';

export type JsonObject = { [key: string]: unknown };

/** Larger files are no configuration; the limit keeps a hostile one from filling the memory. */
const MAX_JSON_BYTES = 256 * 2 ** 20;

/** True for what JSON calls an object: neither null nor an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * `JSON.parse` of UTF-8 bytes that also refuses what it lets pass: malformed UTF-8 and keys that
 * occur twice in one object (two readers could then see two different files).
 * @throws SyntaxError
 */
export function parseJson(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new SyntaxError('it is not valid UTF-8');
  }
  const value: unknown = JSON.parse(text);
  const twice = duplicateKey(text);
  if (twice !== undefined) throw new SyntaxError(`the key ${twice} occurs twice in one object`);
  return value;
}

/**
 * Reads a JSON file that must hold an object.
 * @throws CheckpointError naming the file
 */
export async function readJsonObject(path: string): Promise<JsonObject> {
  let value: unknown;
  try {
    const { size } = await stat(path);
    if (size > MAX_JSON_BYTES) throw new Error(`it has ${size} bytes, more than any real one`);
    value = parseJson(await readFile(path));
  } catch (cause) {
    const { message } = cause as Error;
    throw new CheckpointError(`${path} cannot be read: ${message}. Fetch or export it again.`, {
      cause,
    });
  }
  if (!isJsonObject(value)) throw new CheckpointError(`${path} does not hold a JSON object`);
  return value;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The first key that an object of `text` (valid JSON) holds twice, as written there. */
function duplicateKey(text: string): string | undefined {
  // One entry per open bracket: the keys seen so far, or null for an array.
  const open: (Set<string> | null)[] = [];
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x7b: // {
        open.push(new Set());
        break;
      case 0x5b: // [
        open.push(null);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        break;
      case QUOTE: {
        const end = endOfString(text, i);
        const keys = open[open.length - 1];
        if (keys && isFollowedByColon(text, end)) {
          const written = text.slice(i, end);
          // Escapes make one key writable in several ways.
          const key = written.includes('\\')
            ? (JSON.parse(written) as string)
            : written.slice(1, -1);
          if (keys.has(key)) return written;
          keys.add(key);
        }
        i = end - 1;
      }
    }
  }
  return undefined;
}

/** Index after the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; ; i++) {
    const code = text.charCodeAt(i);
    if (code === BACKSLASH) i++;
    else if (code === QUOTE) return i + 1;
  }
}

function isFollowedByColon(text: string, index: number): boolean {
  while (/\s/.test(text.charAt(index))) index++;
  return text.charAt(index) === ':';
}
