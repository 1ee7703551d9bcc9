// npm packages: `npm ci` when node_modules is missing or differs from package-lock.json.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram, readJson, root, run, SetupError, step } from './tools.mjs';

/** The first package whose installed version is not the locked one, or undefined. */
function firstDifference() {
  const installedList = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installedList)) return 'node_modules is missing';
  const installed = readJson(installedList).packages;
  const locked = readJson(join(root, 'package-lock.json')).packages;
  for (const [path, entry] of Object.entries(locked)) {
    // Optional packages may be for another platform; the first entry is fewbit itself.
    if (path === '' || entry.optional) continue;
    const version = installed[path]?.version;
    if (version !== entry.version) {
      return `${path} is ${version ?? 'missing'}, ${entry.version} is locked`;
    }
  }
  return undefined;
}

export async function installPackages() {
  const difference = firstDifference();
  if (difference === undefined) return;
  if (!findProgram('npm')) {
    throw new SetupError(
      `npm is needed to install the packages (${difference}), not found in PATH`,
    );
  }
  await step('npm packages', async () => {
    await run('npm', ['ci', '--prefer-offline', '--no-audit', '--no-fund'], {
      quiet: /^npm warn|^$/,
    });
    return `installed, because ${difference}`;
  });
}
