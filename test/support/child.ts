import { spawn } from 'node:child_process';
import { join } from 'node:path';

export interface ChildResult {
  /** Exit status; null when a signal ended the process. */
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Preloaded into a process or worker, lets it run TypeScript. */
export const TYPESCRIPT = join(__dirname, 'typescript.js');

/** Runs a TypeScript file in a process of its own. */
export function runScript(
  script: string,
  args: readonly string[] = [],
  { env = {}, nodeArgs = [] }: { env?: NodeJS.ProcessEnv; nodeArgs?: readonly string[] } = {},
): Promise<ChildResult> {
  const child = spawn(process.execPath, [...nodeArgs, '-r', TYPESCRIPT, script, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
}

/** The JSON that a script printed; throws with its errors when it failed. */
export async function scriptOutput<T>(...args: Parameters<typeof runScript>): Promise<T> {
  const { status, signal, stdout, stderr } = await runScript(...args);
  if (status !== 0) throw new Error(`${args[0]} ended with ${status ?? signal}:\n${stderr}`);
  return JSON.parse(stdout) as T;
}
