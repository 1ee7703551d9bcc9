/** Loads and disposes of a model again and again; run with --expose-gc. */
import { readdirSync } from 'node:fs';
import { generate, openModel } from './model';

const collect = (globalThis as { gc?: () => void }).gc as () => void;

async function cycles(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await using model = await openModel();
    if (i % 10 === 0) await generate(model, 2);
  }
}

async function measure(): Promise<{ rss: number; files: number; threads: number }> {
  // Finalizers run in a turn of the event loop after the collection.
  for (let i = 0; i < 3; i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const files = readdirSync('/proc/self/fd').length;
  const threads = readdirSync('/proc/self/task').length;
  return { rss: process.memoryUsage.rss(), files, threads };
}

async function main(warmUp: number, counted: number): Promise<void> {
  await cycles(warmUp);
  const before = await measure();
  await cycles(counted);
  console.log(JSON.stringify({ before, after: await measure() }));
}

void main(Number(process.argv[2]), Number(process.argv[3]));
