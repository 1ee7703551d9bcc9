import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { RepoType } from './client';

const COMMIT = /^[0-9a-f]{40}$/;

/**
 * One repository's folder in the Hugging Face cache, shared with Python's huggingface_hub:
 * `refs/<revision>` holds a commit, `snapshots/<commit>/<file>` links to `blobs/<etag>`.
 */
export class RepoCache {
  readonly folder: string;

  /** @param name `organization/name`, or a name without organization */
  constructor(cacheFolder: string, name: string, type: RepoType = 'model') {
    this.folder = join(cacheFolder, `${type}s--${name.replace('/', '--')}`);
  }

  snapshotFolder(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  blobPath(etag: string): string {
    return join(this.folder, 'blobs', etag);
  }

  /** The commit that a branch or tag stood for when it was last fetched. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (COMMIT.test(revision)) return revision;
    try {
      const commit = (await readFile(join(this.folder, 'refs', revision), 'utf8')).trim();
      return COMMIT.test(commit) ? commit : undefined;
    } catch {
      return undefined;
    }
  }

  async remember(revision: string, commit: string): Promise<void> {
    if (COMMIT.test(revision)) return;
    const path = join(this.folder, 'refs', revision);
    await mkdir(dirname(path), { recursive: true });
    const temporary = temporaryName(path);
    await writeFile(temporary, commit);
    await rename(temporary, path);
  }

  /** Makes a blob visible as a file of a snapshot. */
  async link(commit: string, file: string, etag: string): Promise<void> {
    const path = join(this.snapshotFolder(commit), file);
    const folder = dirname(path);
    await mkdir(folder, { recursive: true });
    const target = relative(folder, this.blobPath(etag));
    try {
      await symlink(target, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (await exists(path)) return;
      // A dangling link of an interrupted or cleaned-up cache.
      const temporary = temporaryName(path);
      await symlink(target, temporary);
      await rename(temporary, path);
    }
  }
}

/** True when the path leads to something; false for a dangling link. */
export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}

/** A name beside a path that no other caller uses, of this process or another. */
function temporaryName(path: string): string {
  return `${path}.${randomUUID()}.tmp`;
}
