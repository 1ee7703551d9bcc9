import { join } from 'node:path';
import { HubError } from '../../errors';
import type { HubOptions } from '../hub';
import { HubClient } from './client';
import { fetchDatasetFile } from './fetch-model';
import { exists, RepoCache } from './repo-cache';
import { hubCacheFolder, hubEndpoint, hubToken, isOffline } from './settings';

/** One file of a dataset on the hub. */
export interface DatasetFile {
  /** `organization/name`. */
  readonly repo: string;
  readonly path: string;
  /** Branch, tag or commit; default `main`. */
  readonly revision?: string;
}

/**
 * Finds a file of a dataset in the Hugging Face cache, or fetches it from the hub into the cache.
 * @param options all but `revision` apply
 * @returns its path
 * @throws HubError when it cannot be fetched; the signal's reason when aborted
 */
export async function resolveDatasetFile(
  { repo, path, revision = 'main' }: DatasetFile,
  options: HubOptions = {},
): Promise<string> {
  const { signal, onProgress, refresh = false } = options;
  signal?.throwIfAborted();
  const cache = new RepoCache(options.cacheDir ?? hubCacheFolder(), repo, 'dataset');
  const offline = options.localFilesOnly || isOffline();
  const commit = await cache.commitOf(revision);
  if (commit && (offline || !refresh)) {
    const file = join(cache.snapshotFolder(commit), path);
    if (await exists(file)) return file;
  }
  if (offline) {
    throw new HubError(
      `${path} of the dataset ${repo} is not in ${cache.folder}, and downloads are off ` +
        '(localFilesOnly or HF_HUB_OFFLINE). Fetch it once with them on, or give a local file.',
    );
  }
  const token = options.token === undefined ? await hubToken() : options.token || undefined;
  const client = new HubClient(repo, { endpoint: hubEndpoint(), type: 'dataset', token, signal });
  return fetchDatasetFile(client, cache, { revision, path }, onProgress);
}
