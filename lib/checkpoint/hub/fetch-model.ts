import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { FewbitError, HubError } from '../../errors';
import { readIndex } from '../weights';
import type { HubClient, HubFile, HubRevision } from './client';
import { downloadBlob } from './download';
import type { RepoCache } from './repo-cache';
import { exists } from './repo-cache';
import type { Purpose } from './selection';
import { pickSmallFiles, pickWeightIndex, pickWeights } from './selection';

/** How far a download is. */
export interface DownloadProgress {
  /** The file that moved, with its own bytes. */
  file: string;
  fileLoaded: number;
  fileTotal: number;
  /** Bytes of all files together. */
  loaded: number;
  total: number;
}

export type OnDownloadProgress = (progress: DownloadProgress) => void;

/** Files fetched at a time. */
const CONCURRENCY = 4;

/**
 * Fetches the files that the purpose needs into the cache; those already there are kept.
 * @returns folder of the snapshot
 * @throws HubError; CheckpointError when the repository holds no weights that can be read
 */
export async function fetchModel(
  client: HubClient,
  cache: RepoCache,
  revision: string,
  purpose: Purpose,
  onProgress?: OnDownloadProgress,
): Promise<string> {
  const found = await client.revision(revision);
  const names = found.files.map(({ path }) => path);
  const small = pickSmallFiles(names, purpose);
  const fetcher = new SnapshotFetcher(client, cache, found, onProgress);
  await writing(cache, async () => {
    const weights = purpose === 'model' ? await fetchIndex(fetcher, names, client.name) : [];
    await fetcher.expect([...small, ...weights]);
    await fetcher.fetch(small);
    await fetcher.fetch(weights);
    await cache.remember(revision, found.commit);
  });
  return cache.snapshotFolder(found.commit);
}

/**
 * Fetches one file of a dataset into the cache, or keeps the one that is there.
 * @returns its path
 * @throws HubError
 */
export async function fetchDatasetFile(
  client: HubClient,
  cache: RepoCache,
  { revision, path }: { revision: string; path: string },
  onProgress?: OnDownloadProgress,
): Promise<string> {
  const found = await client.datasetFile(revision, path);
  const fetcher = new SnapshotFetcher(client, cache, found, onProgress);
  await writing(cache, async () => {
    await fetcher.expect([path]);
    await fetcher.fetch([path]);
    await cache.remember(revision, found.commit);
  });
  return join(cache.snapshotFolder(found.commit), path);
}

/** Runs `body`; failures to write to the cache become HubErrors that say what to do. */
async function writing(cache: RepoCache, body: () => Promise<void>): Promise<void> {
  try {
    await mkdir(join(cache.folder, 'blobs'), { recursive: true });
    await body();
  } catch (cause) {
    const { syscall, message } = cause as NodeJS.ErrnoException;
    if (cause instanceof FewbitError || !syscall) throw cause;
    throw new HubError(`${cache.folder} cannot be written: ${message}. ${OTHER_FOLDER}`, { cause });
  }
}

const OTHER_FOLDER = 'Free space there, or set HF_HUB_CACHE to another folder.';

/** Names of the weight files; of a sharded model its index says them, so that comes first. */
async function fetchIndex(
  fetcher: SnapshotFetcher,
  names: readonly string[],
  where: string,
): Promise<string[]> {
  const index = pickWeightIndex(names, where);
  if (!index) return pickWeights(names, where);
  const path = await fetcher.fetchOne(index);
  const shards = [...new Set((await readIndex(path)).values())];
  return shards.sort();
}

/** Brings files of one revision into the cache and reports the bytes of all of them together. */
class SnapshotFetcher {
  readonly #client: HubClient;
  readonly #cache: RepoCache;
  readonly #commit: string;
  readonly #files: ReadonlyMap<string, HubFile>;
  readonly #onProgress?: OnDownloadProgress;
  #loaded = 0;
  #total = 0;

  constructor(
    client: HubClient,
    cache: RepoCache,
    { commit, files }: HubRevision,
    onProgress?: OnDownloadProgress,
  ) {
    this.#client = client;
    this.#cache = cache;
    this.#commit = commit;
    this.#files = new Map(files.map((file) => [file.path, file]));
    this.#onProgress = onProgress;
  }

  /** Announces the files to come. @throws HubError when they do not fit on the disk */
  async expect(names: readonly string[]): Promise<void> {
    let missing = 0;
    for (const name of names) {
      const file = this.#file(name);
      this.#total += file.size;
      if (!(await exists(this.#cache.blobPath(file.etag)))) missing += file.size;
    }
    const { blocks, bavail, bsize } = await statfs(this.#cache.folder);
    // Some network file systems do not say.
    if (blocks > 0 && missing > bavail * bsize) {
      throw new HubError(
        `${this.#client.name} needs ${gigabytes(missing)} in ${this.#cache.folder}, where ` +
          `${gigabytes(bavail * bsize)} are free. ${OTHER_FOLDER}`,
      );
    }
  }

  /** Fetches files, a few at a time; the first failure ends the others. */
  async fetch(names: readonly string[]): Promise<void> {
    const queue = [...names];
    const work = async (): Promise<void> => {
      for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
        await this.#fetchReported(name);
      }
    };
    const workers = Array.from({ length: CONCURRENCY }, () =>
      work().catch((error) => {
        queue.length = 0;
        this.#client.cancel(error);
        throw error;
      }),
    );
    // Wait for all, so that nothing is written after this function has failed.
    const results = await Promise.allSettled(workers);
    const rejected = results.find((result) => result.status === 'rejected');
    if (rejected) throw rejected.reason;
  }

  /** Fetches one file without reporting it. @returns its path in the snapshot */
  async fetchOne(name: string, onLoaded: (bytes: number) => void = () => {}): Promise<string> {
    const file = this.#file(name);
    await downloadBlob(this.#client, this.#cache, this.#commit, file, onLoaded);
    await this.#cache.link(this.#commit, name, file.etag);
    return join(this.#cache.snapshotFolder(this.#commit), name);
  }

  async #fetchReported(name: string): Promise<void> {
    const fileTotal = this.#file(name).size;
    let last = 0;
    await this.fetchOne(name, (fileLoaded) => {
      this.#loaded += fileLoaded - last;
      last = fileLoaded;
      this.#onProgress?.({
        file: name,
        fileLoaded,
        fileTotal,
        loaded: this.#loaded,
        total: this.#total,
      });
    });
  }

  #file(name: string): HubFile {
    const file = this.#files.get(name);
    if (file) return file;
    throw new HubError(`${this.#client.name} names the file ${name}, but does not hold it`);
  }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
