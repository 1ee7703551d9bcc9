import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError } from '../../errors';

const SAMPLES = join(__dirname, '..', '..', '..', 'samples');

/** The sample checkpoints and texts. They come with the repository, not the package. */
export function sampleFiles() {
  const files = {
    opt: join(SAMPLES, 'sample-opt'),
    llama: join(SAMPLES, 'sample-llama'),
    bitnet: join(SAMPLES, 'sample-bitnet'),
    /** Held out from training. */
    ids: join(SAMPLES, 'text', 'heldout-ids.u16'),
    /** Other text, for GPTQ. */
    calibration: join(SAMPLES, 'text', 'calibration.txt'),
  };
  const missing = Object.values(files).find((path) => !existsSync(path));
  if (missing) {
    throw new CheckpointError(
      `${missing} is not there: the demo needs the samples of the fewbit repository, so clone that`,
    );
  }
  return files;
}

/** Runs `body` with a new folder, which is removed afterwards, whatever happens. */
export async function withTemporaryFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'fewbit-demo-'));
  try {
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
