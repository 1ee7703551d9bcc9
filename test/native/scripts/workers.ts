/**
 * Four workers and the main thread load a model and generate at the same time. Afterwards a worker
 * is terminated while it generates, and one ends by itself without disposing of anything.
 */
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { TYPESCRIPT } from '../../support/child';
import { generate, openModel, PROMPT } from './model';

type Mode = 'generate' | 'endless' | 'leave';

async function work(mode: Mode): Promise<void> {
  const model = await openModel();
  if (mode === 'endless') {
    const options = { maxNewTokens: 1, ignoreEos: true };
    for (let step = 0; ; step++) {
      await model.engine.generate(PROMPT, options).result();
      if (step === 3) parentPort?.postMessage('generating');
    }
  }
  const tokens = await generate(model, 60);
  if (mode === 'generate') await model.dispose();
  parentPort?.postMessage(tokens);
}

function start(mode: Mode): Worker {
  return new Worker(__filename, { workerData: mode, execArgv: ['-r', TYPESCRIPT] });
}

async function main(): Promise<void> {
  const workers = Array.from({ length: 4 }, () => start('generate'));
  const messages = workers.map(async (worker) => (await once(worker, 'message'))[0] as number[]);
  const exits = workers.map(async (worker) => (await once(worker, 'exit'))[0] as number);
  const model = await openModel();
  const own = await generate(model, 60);
  const theirs = await Promise.all(messages);

  const endless = start('endless');
  await once(endless, 'message');
  const terminated = await endless.terminate();

  const leaving = start('leave');
  // Both may come in one turn of the event loop.
  const [[left], [leftCode]] = await Promise.all([once(leaving, 'message'), once(leaving, 'exit')]);

  const after = await generate(model, 60);
  const codes = await Promise.all(exits);
  console.log(JSON.stringify({ own, theirs, left, after, codes, leftCode, terminated }));
}

void (isMainThread ? main() : work(workerData as Mode));
