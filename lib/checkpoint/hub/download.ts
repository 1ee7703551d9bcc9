import type { Hash } from 'node:crypto';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, rename, rm } from 'node:fs/promises';
import { HubError } from '../../errors';
import type { HubClient, HubFile } from './client';
import type { RepoCache } from './repo-cache';
import { exists } from './repo-cache';

/** Bytes read at a time when the start of a file is already on disk. */
const READ_BYTES = 2 ** 20;

/**
 * Fetches one file into the cache's blobs, going on where an earlier attempt stopped. Bytes are
 * written at their own place and the file is checked as a whole before it takes its final name, so
 * several processes may fetch the same file without a lock.
 * @param onLoaded told the bytes of this file that are there
 * @throws HubError when the hub refuses or the contents are not what the hub promised
 */
export async function downloadBlob(
  client: HubClient,
  cache: RepoCache,
  commit: string,
  file: HubFile,
  onLoaded: (bytes: number) => void,
): Promise<void> {
  const path = cache.blobPath(file.etag);
  if (await exists(path)) {
    onLoaded(file.size);
    return;
  }

  const partial = `${path}.incomplete`;
  const handle = await open(partial, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    const digest = await fill(handle, client, commit, file, onLoaded);
    if (digest !== file.etag) {
      await rm(partial, { force: true });
      throw new HubError(
        `${client.name}: ${file.path} arrived damaged (its digest is ${digest}, not ` +
          `${file.etag}). It was removed: try again.`,
      );
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  try {
    await rename(partial, path);
  } catch (error) {
    // Another process was faster.
    if (!(await exists(path))) throw error;
  }
}

/** Fetches what is missing. @returns hex digest of the whole file */
async function fill(
  handle: FileHandle,
  client: HubClient,
  commit: string,
  file: HubFile,
  onLoaded: (bytes: number) => void,
): Promise<string> {
  let hash = newHash(file);
  let position = await hashExisting(handle, hash, file.size);
  onLoaded(position);
  let furthest = position;
  for (let failures = 0; position < file.size; ) {
    const response = await client.content(commit, file.path, position);
    if (position > 0 && response.status !== 206) {
      // The server does not do ranges: it sends everything again.
      position = 0;
      hash = newHash(file);
    }
    try {
      for await (const chunk of response.body ?? []) {
        const bytes = (chunk as Uint8Array).subarray(0, file.size - position);
        await writeAt(handle, bytes, position);
        hash.update(bytes);
        position += bytes.byteLength;
        onLoaded(position);
        if (position === file.size) break;
      }
      if (position < file.size) throw new Error('the connection ended early');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw error;
      // Attempts that get further do not count; a server without ranges must not loop forever.
      failures = position > furthest ? 1 : failures + 1;
      furthest = Math.max(furthest, position);
      await client.backOff(failures, error);
    }
  }
  return hash.digest('hex');
}

/** The hash that names a file's blob: of the contents, or of git's object form of them. */
function newHash({ isLfs, size }: HubFile): Hash {
  return isLfs ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
}

/** Feeds what an earlier attempt left. @returns its length */
async function hashExisting(handle: FileHandle, hash: Hash, size: number): Promise<number> {
  // More than the file's size cannot be a part of it.
  if ((await handle.stat()).size > size) await handle.truncate(0);
  const buffer = Buffer.alloc(READ_BYTES);
  let position = 0;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return position;
    hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
}

async function writeAt(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const { bytesWritten } = await handle.write(
      bytes,
      done,
      bytes.byteLength - done,
      position + done,
    );
    done += bytesWritten;
  }
}
