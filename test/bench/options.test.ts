import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { oneOf } from '../../bench/support/options';

const root = join(__dirname, '..', '..');
const scripts = readdirSync(join(root, 'bench'))
  .filter((name) => name.endsWith('.ts'))
  .map((name) => basename(name, '.ts'));

function run(script: string, ...args: string[]) {
  const path = join('dist', 'bench', `${script}.js`);
  return spawnSync(process.execPath, [path, ...args], { cwd: root, encoding: 'utf8' });
}

test('there are scripts', () => expect(scripts).toContain('linear'));

describe.each(scripts)('%s.js', (script) => {
  test('says with --help how it is called', () => {
    const { status, stdout } = run(script, '--help');
    expect(status).toBe(0);
    expect(stdout).toContain(`node dist/bench/${script}.js`);
    expect(stdout).toContain('--json');
  });

  test('refuses an unknown option, and says where the known ones are', () => {
    const { status, stderr } = run(script, '--no-such-option');
    expect(status).toBe(2);
    expect(stderr).toContain("'--no-such-option'");
    expect(stderr).toContain(`node ${join('dist', 'bench', script)}.js --help`);
    expect(stderr).not.toContain('    at ');
  });
});

test('an option of a few values takes these alone', () => {
  expect(oneOf('dtype', 'bf16', ['f16', 'bf16'])).toBe('bf16');
  expect(() => oneOf('dtype', 'fp16', ['f16', 'bf16'])).toThrow(
    "--dtype takes f16, bf16, got 'fp16'",
  );
});
