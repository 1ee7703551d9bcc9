import { randomBytes } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A file to be written: `write` fills it from the start. */
export interface FileToWrite {
  readonly path: string;
  write(handle: FileHandle): Promise<void>;
}

/**
 * Writes files of one folder so that a reader never sees a half-written one: each goes to a
 * temporary name beside its place and reaches the disk before any takes its final name; the names
 * are then taken in the given order. When a write fails nothing in the folder has changed.
 */
export async function replaceFiles(files: readonly FileToWrite[]): Promise<void> {
  const suffix = `.${randomBytes(6).toString('hex')}.tmp`;
  const written: string[] = [];
  try {
    for (const { path, write } of files) {
      const handle = await open(path + suffix, 'wx');
      written.push(path);
      try {
        await write(handle);
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
    for (const { path } of files) await rename(path + suffix, path);
  } catch (error) {
    await Promise.all(written.map((path) => rm(path + suffix, { force: true })));
    throw error;
  }
  for (const folder of new Set(files.map(({ path }) => dirname(path)))) await syncFolder(folder);
}

/** Writes all bytes of a view at the handle's position. */
export async function writeFully(handle: FileHandle, view: ArrayBufferView): Promise<void> {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  for (let done = 0; done < bytes.byteLength; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done);
    done += bytesWritten;
  }
}

/** Makes renames in a folder survive a power cut. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
