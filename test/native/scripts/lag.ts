/** Delays of a timer of 5 ms while a sample model generates on the CPU, in milliseconds. */
import { AutoModelForCausalLM } from '../../../lib';
import { heldoutWindows, sampleFolder } from '../../support/golden';

async function main(): Promise<void> {
  const folder = sampleFolder('sample-llama');
  await using model = await AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
  const [prompt] = heldoutWindows(1) as [number[]];
  const options = { maxNewTokens: 60, ignoreEos: true };
  // The first request also records programs and reserves the cache.
  await model.engine.generate(prompt.slice(0, 300), { ...options, maxNewTokens: 2 }).result();
  const delays: number[] = [];
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    delays.push(now - last - 5);
    last = now;
  }, 5);
  const begin = performance.now();
  // A fast machine has few delays in one request; a loop that is never free has few in all of them.
  for (let request = 0; request < 50 && delays.length < 100; request += 1) {
    await model.engine.generate(prompt.slice(0, 300), options).result();
  }
  const milliseconds = performance.now() - begin;
  clearInterval(timer);
  delays.sort((a, b) => a - b);
  const p99 = delays[Math.floor(delays.length * 0.99)];
  console.log(JSON.stringify({ p99, samples: delays.length, milliseconds }));
}

void main();
