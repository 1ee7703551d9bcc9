import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const FIXTURES = join(__dirname, '..', '..', 'fixtures');
export const SAMPLES = join(__dirname, '..', '..', '..', 'samples');

/** A new folder for each test of a file, removed after it. */
export function useFolder(): { readonly path: string; file(name: string): string } {
  let path = '';
  beforeEach(() => {
    path = mkdtempSync(join(tmpdir(), 'fewbit-test-'));
  });
  afterEach(() => rmSync(path, { recursive: true, force: true }));
  return {
    get path() {
      return path;
    },
    file: (name) => join(path, name),
  };
}

/** Writes a value as a JSON file. */
export function writeJson(path: string, value: unknown): void {
  writeFileSync(path, JSON.stringify(value));
}
