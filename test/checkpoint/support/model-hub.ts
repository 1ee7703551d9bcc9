import { join } from 'node:path';
import { type HubOptions, resolveModel } from '../../../lib/checkpoint/hub';
import { useFolder } from './folder';
import { HubServer } from './hub-server';
import { rawSafetensors } from './raw-safetensors';

/** 40 kB of weights that hold one tensor `a`. */
export const weights = rawSafetensors(
  { a: { dtype: 'U8', shape: [40_000], data_offsets: [0, 40_000] } },
  40_000,
);

/** A hub with one model and an empty cache, new for each test of a file. */
export function useModelHub() {
  const folder = useFolder();
  const savedEnvironment = { ...process.env };
  let hub: HubServer;
  beforeEach(async () => {
    for (const name of Object.keys(process.env))
      if (/^(HF|HUGGING)/.test(name)) delete process.env[name];
    hub = new HubServer();
    await hub.start();
    process.env.HF_ENDPOINT = `${hub.endpoint}/`;
    process.env.HF_HOME = folder.file('home');
    hub.files.set('config.json', Buffer.from('{"model_type":"llama"}'));
    hub.files.set('generation_config.json', Buffer.from('{}'));
    hub.files.set('model.safetensors', weights);
    hub.files.set('README.md', Buffer.from('read me'));
    hub.files.set('pytorch_model.bin', Buffer.alloc(5000));
  });
  afterEach(async () => {
    await hub.stop();
    process.env = { ...savedEnvironment };
  });
  const cacheFolder = () => folder.file('home/hub/models--org--model');
  return {
    folder,
    /** That of the test that runs. */
    currentHub: () => hub,
    cacheFolder,
    blob: (name: string) => join(cacheFolder(), 'blobs', hub.etagOf(name)),
    resolve: (options: HubOptions = {}) => resolveModel(hub.model, options),
  };
}
