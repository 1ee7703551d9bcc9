// Two setups in one checkout at the same time (a test and a demo, say) would write the same build
// folder, so the second waits for the first.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root, say } from './tools.mjs';

const cache = join(root, '.cache');
const lock = join(cache, 'setup.lock');

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** The process that holds the lock; undefined when it is free, or left by a process that is gone. */
function holder() {
  try {
    const pid = Number(readFileSync(lock, 'utf8'));
    return alive(pid) ? pid : undefined;
  } catch {
    return undefined;
  }
}

function tryLock() {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    return false;
  }
}

export async function withLock(work) {
  mkdirSync(cache, { recursive: true });
  let told = false;
  while (!tryLock()) {
    const pid = holder();
    if (pid === undefined) {
      rmSync(lock, { force: true });
      continue;
    }
    if (!told) say(`waiting for the setup that process ${pid} runs here`);
    told = true;
    await sleep(300);
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}
