import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint';
import { type DownloadProgress, resolveTokenizer } from '../../lib/checkpoint/hub';
import { AutoTokenizer } from '../../lib/checkpoint/tokenizer';
import { FIXTURES } from './support/folder';
import { COMMIT, type HubServer } from './support/hub-server';
import { useModelHub, weights } from './support/model-hub';

const { blob, cacheFolder, currentHub, folder, resolve } = useModelHub();
let hub: HubServer;
beforeEach(() => {
  hub = currentHub();
});

describe('download', () => {
  it('fetches what is needed into the layout that Python uses', async () => {
    const path = await resolve();
    expect(path).toBe(join(cacheFolder(), 'snapshots', COMMIT));
    expect(readFileSync(join(cacheFolder(), 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect(readdirSync(path).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'model.safetensors',
    ]);
    expect(lstatSync(join(path, 'model.safetensors')).isSymbolicLink()).toBe(true);
    expect(readFileSync(blob('model.safetensors')).equals(weights)).toBe(true);
    expect(readdirSync(join(cacheFolder(), 'blobs')).some((n) => n.includes('incomplete'))).toBe(
      false,
    );
    expect((await openCheckpoint(path)).has('a')).toBe(true);
  });

  it('uses the cache the second time, without any request', async () => {
    const path = await resolve();
    const requests = hub.log.length;
    expect(await resolve()).toBe(path);
    expect(await resolve({ revision: COMMIT })).toBe(path);
    expect(hub.log).toHaveLength(requests);
  });

  it('completes a snapshot that lacks a file', async () => {
    const path = await resolve();
    rmSync(blob('model.safetensors'));
    expect(await resolve()).toBe(path);
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(hub.downloads.filter((line) => line.endsWith('config.json'))).toHaveLength(2);
  });

  it('looks for a newer commit only when asked', async () => {
    const old = await resolve();
    hub.commit = 'b'.repeat(40);
    expect(await resolve()).toBe(old);
    const path = await resolve({ refresh: true });
    expect(path).toContain(hub.commit);
    expect(hub.downloads.filter((line) => line.endsWith('model.safetensors'))).toHaveLength(1);
  });

  it('fetches shards that the index names', async () => {
    hub.files.delete('model.safetensors');
    const map = { a: 'model-1.safetensors', b: 'model-2.safetensors' };
    const index = Buffer.from(JSON.stringify({ weight_map: map }));
    hub.files.set('model.safetensors.index.json', index);
    hub.files.set('model-1.safetensors', weights);
    hub.files.set(
      'model-2.safetensors',
      Buffer.from(weights.toString('latin1').replace('"a"', '"b"'), 'latin1'),
    );
    hub.files.set('consolidated.safetensors', weights);
    const path = await resolve();
    expect(readdirSync(path)).not.toContain('consolidated.safetensors');
    expect([...(await openCheckpoint(path)).tensors.keys()]).toEqual(['a', 'b']);
  });

  it('goes on where a partial file ends', async () => {
    mkdirSync(join(cacheFolder(), 'blobs'), { recursive: true });
    writeFileSync(`${blob('model.safetensors')}.incomplete`, weights.subarray(0, 12_345));
    await resolve();
    const path = `/${hub.model}/resolve/${COMMIT}/model.safetensors`;
    expect(hub.downloads).toContain(`${path} bytes=12345-`);
    expect(readFileSync(blob('model.safetensors')).equals(weights)).toBe(true);
  });

  it('goes on after broken connections and passing errors', async () => {
    hub.breakAfter = [10_000, 5_000];
    hub.failWith = [503];
    await resolve();
    expect(hub.downloads.filter((line) => /bytes=1[05]000-/.test(line))).toHaveLength(2);
    expect(readFileSync(blob('model.safetensors')).equals(weights)).toBe(true);
  });

  it('starts again when the server does not do ranges', async () => {
    hub.ignoreRanges = true;
    hub.breakAfter = [10_000];
    await resolve();
    expect(readFileSync(blob('model.safetensors')).equals(weights)).toBe(true);
  });

  it('starts again when the partial file is longer than the file', async () => {
    mkdirSync(join(cacheFolder(), 'blobs'), { recursive: true });
    writeFileSync(`${blob('config.json')}.incomplete`, Buffer.alloc(1000));
    await resolve();
    expect(readFileSync(blob('config.json'), 'utf8')).toBe('{"model_type":"llama"}');
  });

  it('refuses contents with the wrong digest and removes them', async () => {
    hub.corrupt = true;
    await expect(resolve()).rejects.toThrow(/config\.json arrived damaged|generation_config/);
    expect(readdirSync(join(cacheFolder(), 'blobs'))).not.toContain(hub.etagOf('config.json'));
    hub.corrupt = false;
    expect(existsSync(join(await resolve(), 'config.json'))).toBe(true);
  });

  it('refuses a partial file of other contents', async () => {
    mkdirSync(join(cacheFolder(), 'blobs'), { recursive: true });
    writeFileSync(`${blob('model.safetensors')}.incomplete`, Buffer.alloc(2000));
    await expect(resolve()).rejects.toThrow(/model\.safetensors arrived damaged/);
    await resolve();
    expect(readFileSync(blob('model.safetensors')).equals(weights)).toBe(true);
  });

  it('lets two callers fetch the same model at once', async () => {
    const [a, b] = await Promise.all([resolve(), resolve()]);
    expect(a).toBe(b);
    expect(readFileSync(blob('model.safetensors')).equals(weights)).toBe(true);
  });

  it('reports progress up to the total', async () => {
    const seen: DownloadProgress[] = [];
    await resolve({ onProgress: (progress) => seen.push(progress) });
    const total = [...hub.files]
      .filter(([name]) => /json$|safetensors$/.test(name))
      .reduce((sum, [, bytes]) => sum + bytes.length, 0);
    expect(seen.at(-1)).toMatchObject({ loaded: total, total });
    const loaded = seen.map((progress) => progress.loaded);
    expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
    expect(
      seen.some(
        ({ file, fileLoaded }) => file === 'model.safetensors' && fileLoaded === weights.length,
      ),
    ).toBe(true);
  });

  it('stops at once when aborted and can go on later', async () => {
    hub.stall = true;
    const controller = new AbortController();
    const reason = new Error('enough');
    const resolving = resolve({
      signal: controller.signal,
      onProgress: ({ file, fileLoaded }) => {
        if (file === 'model.safetensors' && fileLoaded > 0) controller.abort(reason);
      },
    });
    await expect(resolving).rejects.toBe(reason);
    await expect(resolve({ signal: controller.signal })).rejects.toBe(reason);
    hub.stall = false;
    await resolve();
    expect(hub.downloads.some((line) => line.endsWith('model.safetensors bytes=100-'))).toBe(true);
  });
});

describe('revisions and tokenizers', () => {
  it('keeps a pull request under its own name', async () => {
    await resolve({ revision: 'refs/pr/1' });
    expect(readFileSync(join(cacheFolder(), 'refs', 'refs', 'pr', '1'), 'utf8')).toBe(COMMIT);
  });

  it('fetches only the tokenizer for a tokenizer', async () => {
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
      hub.files.set(name, readFileSync(join(FIXTURES, 'tokenizers', 'sentencepiece', name)));
    }
    const tokenizer = await AutoTokenizer.fromPretrained(hub.model);
    expect(tokenizer.vocabSize).toBe(700);
    expect(hub.downloads).toHaveLength(2);
    await resolveTokenizer(hub.model);
    expect(hub.downloads).toHaveLength(2);
    expect(existsSync(join(await resolve(), 'tokenizer.json'))).toBe(true);
  });

  it('uses cacheDir, HF_HUB_CACHE and XDG_CACHE_HOME', async () => {
    expect(await resolve({ cacheDir: folder.file('mine') })).toContain(folder.file('mine'));
    process.env.HF_HUB_CACHE = folder.file('other');
    expect(await resolve()).toContain(folder.file('other'));
    delete process.env.HF_HUB_CACHE;
    delete process.env.HF_HOME;
    process.env.XDG_CACHE_HOME = folder.file('xdg');
    expect(await resolve()).toContain(folder.file('xdg/huggingface/hub/models--org--model'));
  });
});
