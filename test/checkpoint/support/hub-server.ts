import { createHash } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export const COMMIT = 'a'.repeat(40);
/** Larger files are LFS files, named by their SHA-256. */
const LFS_BYTES = 1000;

/** A small Hugging Face hub on this machine, with one repository in it. */
export class HubServer {
  readonly model: string;
  readonly files = new Map<string, Buffer>();
  /** Sizes that the listing claims, where they are not those of the files. */
  readonly claimedSizes = new Map<string, number>();
  commit = COMMIT;
  /** Token that the model is gated behind. */
  gatedBy?: string;
  /** File contents sent before the connection breaks, once per entry. */
  breakAfter: number[] = [];
  /** Statuses of the next requests for contents. */
  failWith: number[] = [];
  /** Sends whole files whatever range was asked for. */
  ignoreRanges = false;
  /** Contents are never finished. */
  stall = false;
  /** Changes the contents on the way. */
  corrupt = false;
  /** Branches and tags. */
  readonly revisions = ['main', 'refs/pr/1'];
  /** Requests so far: `GET path [range]`. */
  readonly log: string[] = [];
  readonly #server: Server = createServer((request, response) => this.#answer(request, response));

  /** @param model name of the repository, which may also be a dataset */
  constructor(model = 'org/model') {
    this.model = model;
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Requests for file contents. */
  get downloads(): string[] {
    return this.log.filter((line) => line.includes('/resolve/'));
  }

  etagOf(name: string): string {
    const bytes = this.files.get(name) as Buffer;
    return bytes.length > LFS_BYTES
      ? createHash('sha256').update(bytes).digest('hex')
      : createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url as string, 'http://x').pathname);
    const { range, authorization } = request.headers;
    this.log.push(`${path}${range ? ` ${range}` : ''}`);
    const [, kind, rest = ''] = path.match(/\/(revision|tree|resolve|paths-info)\/(.*)$/) ?? [];
    const refusal = this.#refusal(path, authorization, kind === 'revision' ? rest : undefined);
    if (refusal) refuse(response, ...refusal);
    else if (kind === 'revision') {
      json(response, { _id: '1', id: this.model, sha: this.commit, gated: false });
    } else if (kind === 'tree') json(response, this.#tree());
    else if (kind === 'paths-info') void this.#sendPaths(request, response);
    else this.#sendFile(response, rest.replace(`${this.commit}/`, ''), range);
  }

  #refusal(path: string, authorization?: string, revision?: string): [number, string] | undefined {
    if (!path.includes(`/${this.model}/`)) return [401, 'RepoNotFound'];
    if (this.gatedBy && authorization !== `Bearer ${this.gatedBy}`) {
      return [authorization ? 403 : 401, 'GatedRepo'];
    }
    if (revision && ![...this.revisions, this.commit].includes(revision)) {
      return [404, 'RevisionNotFound'];
    }
    return undefined;
  }

  #sendFile(response: ServerResponse, name: string, range: string | undefined): void {
    const bytes = this.files.get(name);
    const status = bytes ? this.failWith.shift() : 404;
    if (!bytes || status) refuse(response, status as number, bytes ? '' : 'EntryNotFound');
    else this.#send(response, bytes, range);
  }

  #tree(): object[] {
    const files = [...this.files].map(([path, { length }]) => {
      const size = this.claimedSizes.get(path) ?? length;
      const oid = this.etagOf(path);
      const lfs = size > LFS_BYTES ? { lfs: { oid, size, pointerSize: 100 } } : {};
      return { type: 'file', path, size, oid: size > LFS_BYTES ? 'f'.repeat(40) : oid, ...lfs };
    });
    return [...files, { type: 'directory', path: 'original', size: 0, oid: 'd'.repeat(40) }];
  }

  async #sendPaths(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { paths } = JSON.parse(await text(request)) as { paths: string[] };
    json(
      response,
      this.#tree().filter((entry) => paths.includes((entry as { path: string }).path)),
    );
  }

  #send(response: ServerResponse, bytes: Buffer, range: string | undefined): void {
    const start = range && !this.ignoreRanges ? Number(/bytes=(\d+)-/.exec(range)?.[1]) : 0;
    const rest = Buffer.from(bytes.subarray(start));
    if (this.corrupt && rest.length > 0) rest[0] = (rest[0] as number) ^ 1;
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': rest.length });
    const breakAfter = bytes.length > LFS_BYTES ? this.breakAfter.shift() : undefined;
    if (breakAfter !== undefined) {
      response.write(rest.subarray(0, breakAfter), () => {
        setTimeout(() => response.destroy(), 20);
      });
    } else if (this.stall && bytes.length > LFS_BYTES) {
      response.write(rest.subarray(0, 100));
    } else {
      response.end(rest);
    }
  }
}

function json(response: ServerResponse, value: unknown): void {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'x-error-code': code, 'x-error-message': 'said by the hub' });
  response.end();
}
