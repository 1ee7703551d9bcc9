// Requests to a Hugging Face hub: authorisation, retries, and errors that say what to do.
import { setTimeout as sleep } from 'node:timers/promises';
import { HubError } from '../../errors';

export interface HubFile {
  /** Path inside the repository. */
  readonly path: string;
  readonly size: number;
  /** Name of the blob in the cache: SHA-256 of a large (LFS) file, else git's SHA-1. */
  readonly etag: string;
  readonly isLfs: boolean;
}

export interface HubRevision {
  readonly commit: string;
  /** Files at the top level. */
  readonly files: readonly HubFile[];
}

/** Kinds of repositories that things are fetched from. */
export type RepoType = 'model' | 'dataset';

export interface HubClientOptions {
  endpoint: string;
  /** Default: a model. */
  type?: RepoType;
  token?: string | undefined;
  signal?: AbortSignal | undefined;
}

const ATTEMPTS = 5;
const FIRST_DELAY_MS = 300;
const MAX_DELAY_MS = 10_000;

/** Talks to the hub about one repository. */
export class HubClient {
  readonly name: string;
  readonly #type: RepoType;
  readonly #endpoint: string;
  readonly #token?: string | undefined;
  readonly #cancelled = new AbortController();
  readonly #signal: AbortSignal;

  constructor(name: string, { endpoint, type = 'model', token, signal }: HubClientOptions) {
    this.name = name;
    this.#type = type;
    this.#endpoint = endpoint;
    this.#token = token;
    this.#signal = signal
      ? AbortSignal.any([signal, this.#cancelled.signal])
      : this.#cancelled.signal;
  }

  /** Ends all requests under way; they and later ones fail with `reason`. */
  cancel(reason: unknown): void {
    this.#cancelled.abort(reason);
  }

  /**
   * The commit of a branch, tag or commit of a model and the files at its top level.
   * @throws HubError when there is no such model or revision, or access is refused
   */
  async revision(revision: string): Promise<HubRevision> {
    // Loaded late: most processes find their models on disk.
    const { listFiles, modelInfo } = await import('@huggingface/hub');
    const common = { hubUrl: this.#endpoint, fetch: this.#fetch };
    const { sha } = await modelInfo({
      name: this.name,
      revision,
      additionalFields: ['sha'],
      ...common,
    });
    const files: HubFile[] = [];
    const repo = { type: 'model', name: this.name } as const;
    for await (const entry of listFiles({ repo, revision: sha, ...common })) {
      const etag = entry.lfs?.oid ?? entry.oid;
      if (entry.type !== 'file' || !etag || !isPlainName(entry.path)) continue;
      const size = entry.lfs?.size ?? entry.size;
      files.push({ path: entry.path, size, etag, isLfs: entry.lfs !== undefined });
    }
    return { commit: sha, files };
  }

  /**
   * The commit of a branch, tag or commit of a dataset and one file of it, at any depth.
   * @throws HubError when there is no such dataset, revision or file, or access is refused
   */
  async datasetFile(revision: string, path: string): Promise<HubRevision> {
    const { datasetInfo, pathsInfo } = await import('@huggingface/hub');
    const common = { hubUrl: this.#endpoint, fetch: this.#fetch };
    const { sha } = await datasetInfo({
      name: this.name,
      revision,
      additionalFields: ['sha'],
      ...common,
    });
    const repo = { type: 'dataset', name: this.name } as const;
    const [entry] = await pathsInfo({ repo, paths: [path], revision: sha, ...common });
    const { oid: etag, size = 0 } = entry?.lfs ?? entry ?? {};
    if (entry?.type !== 'file' || !etag) {
      throw new HubError(`${this.name} holds no file ${path}: see ${this.#page}`);
    }
    return { commit: sha, files: [{ path, size, etag, isLfs: entry.lfs !== undefined }] };
  }

  /**
   * Requests the contents of a file from byte `start` on.
   * @throws HubError; the signal's reason when aborted
   */
  async content(commit: string, path: string, start: number): Promise<Response> {
    const encoded = path.split('/').map(encodeURIComponent).join('/');
    const url = `${this.#page}/resolve/${commit}/${encoded}`;
    // Ranges count bytes of the file, not of a compressed form of it.
    const headers: Record<string, string> = { 'accept-encoding': 'identity' };
    if (start > 0) headers.range = `bytes=${start}-`;
    return this.#fetch(url, { headers });
  }

  /** Waits before the given retry (1, 2, ...), or rejects when aborted or tried often enough. */
  async backOff(attempt: number, reason: unknown): Promise<void> {
    this.#signal.throwIfAborted();
    if (attempt >= ATTEMPTS) throw this.#networkError(reason);
    const delay = Math.min(FIRST_DELAY_MS * 2 ** (attempt - 1), MAX_DELAY_MS);
    try {
      await sleep(delay, undefined, { signal: this.#signal });
    } catch {
      this.#signal.throwIfAborted();
    }
  }

  readonly #fetch = async (
    url: string | URL | Request,
    init: RequestInit = {},
  ): Promise<Response> => {
    const headers = new Headers(init.headers);
    headers.set('user-agent', 'fewbit');
    if (this.#token) headers.set('authorization', `Bearer ${this.#token}`);
    for (let attempt = 1; ; attempt++) {
      let reason: unknown;
      try {
        const response = await fetch(url, { ...init, headers, signal: this.#signal });
        if (response.ok) return response;
        reason = await this.#statusError(response);
      } catch (error) {
        reason = error;
      }
      if (reason instanceof HubError && !isPassing(reason.status)) throw reason;
      await this.backOff(attempt, reason);
    }
  };

  #networkError(reason: unknown): HubError {
    if (reason instanceof HubError) return reason;
    const { message, cause } = reason as Error & { cause?: Error };
    return new HubError(
      `the hub at ${this.#endpoint} cannot be reached for ${this.name}: ` +
        `${cause?.message ?? message}. Check the network and HF_ENDPOINT, or give a local ${
          this.#type === 'dataset' ? 'file' : 'folder'
        }.`,
      { cause: reason },
    );
  }

  async #statusError(response: Response): Promise<HubError> {
    const { status, headers } = response;
    const code = headers.get('x-error-code');
    const said = headers.get('x-error-message');
    await response.body?.cancel();
    return new HubError(`${this.name}: ${this.#explain(status, code)}${said ? ` (${said})` : ''}`, {
      status,
    });
  }

  get #page(): string {
    return `${this.#endpoint}/${this.#type === 'dataset' ? 'datasets/' : ''}${this.name}`;
  }

  #explain(status: number, code: string | null): string {
    const page = this.#page;
    const type = this.#type;
    if (code === 'GatedRepo' || status === 403) {
      return this.#token
        ? `this ${type} is gated and your token has no access: ask for it at ${page}`
        : `this ${type} is gated: ask for access at ${page}, then set HF_TOKEN or pass token`;
    }
    if (code === 'RevisionNotFound') return `it has no such revision: see ${page}`;
    if (code === 'EntryNotFound') return `a file is missing from it: see ${page}`;
    if (status === 401) {
      return this.#token
        ? `the hub does not accept your token, or the ${type} does not exist`
        : `there is no such public ${type}: check the name, or set HF_TOKEN if it is private`;
    }
    if (status === 404) return `there is no such ${type} on ${this.#endpoint}: check the name`;
    if (status === 429) return 'the hub asks for fewer requests: wait, or log in with HF_TOKEN';
    return `the hub answers with status ${status}`;
  }
}

function isPassing(status: number | undefined): boolean {
  return status === 429 || status === 408 || (status !== undefined && status >= 500);
}

/** Only top-level files are of use, and no name from elsewhere may leave the cache folder. */
function isPlainName(path: string): boolean {
  return !/[/\\\0]/.test(path) && path !== '.' && path !== '..';
}
