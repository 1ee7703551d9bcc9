import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { CheckpointError, HubError, OptionsError } from '../errors';
import { HubClient } from './hub/client';
import type { OnDownloadProgress } from './hub/fetch-model';
import { fetchModel } from './hub/fetch-model';
import { RepoCache } from './hub/repo-cache';
import type { Purpose } from './hub/selection';
import { isComplete } from './hub/selection';
import { hubCacheFolder, hubEndpoint, hubToken, isOffline } from './hub/settings';

export type { DownloadProgress, OnDownloadProgress } from './hub/fetch-model';

export interface HubOptions {
  /** Branch, tag or commit; default `main`. */
  revision?: string;
  /** Access token; default that of HF_TOKEN or of the user's login. `false` sends none. */
  token?: string | false;
  /** Folder of the cache; default that of HF_HUB_CACHE, HF_HOME or the user. */
  cacheDir?: string;
  /** Never use the network. HF_HUB_OFFLINE=1 does the same. */
  localFilesOnly?: boolean;
  /** Ask the hub for the newest commit also when the cache holds an older one. */
  refresh?: boolean;
  signal?: AbortSignal;
  onProgress?: OnDownloadProgress;
}

const NAME = /^\w[\w.-]*(\/\w[\w.-]*)?$/;
const REVISION = /^\w[\w.+-]*(\/\w[\w.+-]*)*$/;

/**
 * Finds the folder of a model: a local folder of that name, else the Hugging Face cache, else the
 * hub, from which configuration, tokenizer and safetensors files are fetched into the cache.
 * @returns the folder
 * @throws CheckpointError when the name means nothing, or the model has no safetensors
 * @throws HubError when it cannot be fetched; the signal's reason when aborted
 */
export async function resolveModel(
  nameOrFolder: string,
  options: HubOptions = {},
): Promise<string> {
  return resolveFor('model', nameOrFolder, options);
}

/** As `resolveModel`, but needs and fetches the tokenizer's files only. */
export async function resolveTokenizer(
  nameOrFolder: string,
  options: HubOptions = {},
): Promise<string> {
  return resolveFor('tokenizer', nameOrFolder, options);
}

async function resolveFor(
  purpose: Purpose,
  nameOrFolder: string,
  options: HubOptions,
): Promise<string> {
  const { revision = 'main', signal, onProgress, refresh = false } = options;
  signal?.throwIfAborted();
  if (typeof nameOrFolder !== 'string' || nameOrFolder === '') {
    throw new OptionsError('give the name of a model on the hub, or a folder');
  }
  if (await isLocalFolder(nameOrFolder)) return resolve(nameOrFolder);
  if (!NAME.test(nameOrFolder) || /--|\.\./.test(nameOrFolder)) {
    throw new CheckpointError(
      `${nameOrFolder}: there is no such folder, and it is not a name on the hub (organization/model)`,
    );
  }
  if (!REVISION.test(revision) || revision.includes('..')) {
    throw new OptionsError(`'${revision}' is not a branch, tag or commit`);
  }

  const cache = new RepoCache(options.cacheDir ?? hubCacheFolder(), nameOrFolder);
  const offline = options.localFilesOnly || isOffline();
  const commit = await cache.commitOf(revision);
  if (commit && (offline || !refresh)) {
    const folder = cache.snapshotFolder(commit);
    if (await isComplete(folder, purpose)) return folder;
  }
  if (offline) {
    throw new HubError(
      `${nameOrFolder} (${revision}) is not completely in ${cache.folder}, and downloads are off ` +
        '(localFilesOnly or HF_HUB_OFFLINE). Fetch it once with them on, or give a local folder.',
    );
  }
  const token = options.token === undefined ? await hubToken() : options.token || undefined;
  const client = new HubClient(nameOrFolder, { endpoint: hubEndpoint(), token, signal });
  return fetchModel(client, cache, revision, purpose, onProgress);
}

/** @throws CheckpointError when it is a file, which is a common slip */
async function isLocalFolder(path: string): Promise<boolean> {
  try {
    const stats = await stat(path);
    if (stats.isDirectory()) return true;
  } catch {
    return false;
  }
  throw new CheckpointError(`${path} is a file: give the folder that holds the model's files`);
}
