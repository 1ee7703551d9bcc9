import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { resolveModel } from '../../lib/checkpoint/hub';
import { CheckpointError, HubError, OptionsError } from '../../lib/errors';
import { COMMIT, type HubServer } from './support/hub-server';
import { useModelHub } from './support/model-hub';

const { currentHub, folder, resolve } = useModelHub();
let hub: HubServer;
beforeEach(() => {
  hub = currentHub();
});

describe('refusals', () => {
  it('explains a gated model with and without token', async () => {
    hub.gatedBy = 'hf_right';
    await expect(resolve()).rejects.toThrow(/gated: ask for access at .*org\/model.*HF_TOKEN/);
    await expect(resolve()).rejects.toMatchObject({ code: 'ERR_FEWBIT_HUB', status: 401 });
    await expect(resolve({ token: 'hf_wrong' })).rejects.toThrow(/your token has no access/);
    process.env.HF_TOKEN = 'hf_right';
    await expect(resolve({ token: false })).rejects.toThrow(HubError);
    expect(await resolve()).toContain(COMMIT);
  });

  it('takes the token that a login has saved', async () => {
    hub.gatedBy = 'anything';
    mkdirSync(folder.file('home'), { recursive: true });
    writeFileSync(folder.file('home/token'), 'anything\n');
    expect(await resolve()).toContain(COMMIT);
  });

  it('explains a missing model and a missing revision', async () => {
    const missing = resolveModel('org/none');
    await expect(missing).rejects.toThrow(
      /org\/none: there is no such public model.*said by the hub/,
    );
    await expect(resolve({ revision: 'v9' })).rejects.toThrow(/no such revision/);
  });

  it('refuses a pickle-only model without downloading anything', async () => {
    hub.files.delete('model.safetensors');
    await expect(resolve()).rejects.toThrow(CheckpointError);
    await expect(resolve()).rejects.toThrow(/org\/model holds only pickle.*refs\/pr\/N/s);
    expect(hub.downloads).toHaveLength(0);
  });

  it('gives up when the server keeps failing, and says which file', async () => {
    hub.failWith = Array(100).fill(500);
    await expect(resolve()).rejects.toMatchObject({ code: 'ERR_FEWBIT_HUB', status: 500 });
  });

  it('says when the hub cannot be reached', async () => {
    process.env.HF_ENDPOINT = 'http://127.0.0.1:1';
    await expect(resolve()).rejects.toThrow(/cannot be reached for org\/model.*HF_ENDPOINT/);
  });

  it('stays offline when told to', async () => {
    await expect(resolve({ localFilesOnly: true })).rejects.toThrow(/downloads are off/);
    process.env.HF_HUB_OFFLINE = '1';
    await expect(resolve()).rejects.toThrow(HubError);
    expect(hub.log).toHaveLength(0);
    delete process.env.HF_HUB_OFFLINE;
    const path = await resolve();
    process.env.HF_HUB_OFFLINE = '1';
    expect(await resolve({ refresh: true })).toBe(path);
  });

  it('refuses at once what does not fit on the disk', async () => {
    hub.claimedSizes.set('model.safetensors', 1e18);
    await expect(resolve()).rejects.toThrow(/needs 1000000000\.0 GB.*are free.*HF_HUB_CACHE/);
    expect(hub.downloads).toHaveLength(0);
  });

  it('says when the cache cannot be written', async () => {
    writeFileSync(folder.file('file'), '');
    const resolving = resolve({ cacheDir: folder.file('file') });
    await expect(resolving).rejects.toThrow(/cannot be written.*HF_HUB_CACHE/);
  });

  it.each(['../escape.json', 'a/../../b.json', '..'])(
    'ignores the repository file %s',
    async (name) => {
      hub.files.set(name, Buffer.from('{}'));
      expect(readdirSync(await resolve())).toHaveLength(3);
    },
  );

  it('prefers a local folder, and refuses what is neither folder nor name', async () => {
    expect(await resolveModel(folder.path)).toBe(folder.path);
    writeFileSync(folder.file('model.gguf'), '');
    await expect(resolveModel(folder.file('model.gguf'))).rejects.toThrow(
      /is a file: give the folder/,
    );
    for (const name of [
      './none',
      '../no-such-folder',
      '/none',
      'a/b/c',
      'a--b/c',
      'a..b/c',
      '.hidden/x',
    ]) {
      await expect(resolveModel(name)).rejects.toThrow(/no such folder/);
    }
    await expect(resolveModel('')).rejects.toThrow(OptionsError);
    for (const revision of ['../x', '/x', 'a b', '']) {
      await expect(resolve({ revision })).rejects.toThrow(OptionsError);
    }
    expect(hub.log).toHaveLength(0);
  });
});
