import {
  formatBytes,
  formatCount,
  formatDuration,
  formatPerplexity,
  formatShare,
  formatTable,
} from '../../lib/cli/output/format';
import { toJson } from '../../lib/cli/output/output';
import { Progress } from '../../lib/cli/output/progress';

class Terminal {
  isTTY = true;
  columns = 40;
  written = '';

  write(text: string): void {
    this.written += text;
  }
}

test.each([
  [0.4, '0 s'],
  [59.4, '59 s'],
  [59.6, '1 min 00 s'],
  [125, '2 min 05 s'],
  [3600, '1 h 00 min'],
  [7 * 3600 + 5 * 60 + 59, '7 h 05 min'],
])('%d seconds are %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

describe('Progress', () => {
  test('redraws one line, no wider than the terminal, and takes it away', () => {
    const terminal = new Terminal();
    const progress = new Progress(terminal);
    progress.update('load', 1, 2, 'a long remark that does not fit at all');
    const [, line] = terminal.written.split('\r\u001b[K') as [string, string];
    expect(line).toMatch(/^load \[#{12}\.{12}\] 50% /);
    expect(line).toHaveLength(39);
    progress.clear();
    expect(terminal.written.endsWith('\r\u001b[K')).toBe(true);
    const { length } = terminal.written;
    progress.clear();
    expect(terminal.written).toHaveLength(length);
  });

  test('does not redraw faster than one can read, but always draws the end', () => {
    const terminal = new Terminal();
    const progress = new Progress(terminal);
    for (let done = 0; done <= 1000; done++) progress.update('x', done, 1000);
    const lines = terminal.written.split('\r\u001b[K').slice(1);
    expect(lines.length).toBeLessThan(20);
    expect(lines.at(-1)).toContain('100%');
  });

  test('is silent without a terminal, or when told so', () => {
    const pipe = Object.assign(new Terminal(), { isTTY: false });
    const quiet = new Terminal();
    for (const progress of [new Progress(pipe), new Progress(quiet, false)]) {
      progress.update('load', 1, 2);
      progress.clear();
    }
    expect(pipe.written + quiet.written).toBe('');
  });
});

test('sizes, counts and shares', () => {
  expect([0, 999, 1000, 8941568, 34.36e9, 999.6e6].map(formatBytes)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '8.9 MB',
    '34.4 GB',
    '1.0 GB',
  ]);
  expect(formatCount(6738415616)).toBe('6,738,415,616');
  expect(formatShare(0.99731)).toBe('99.7%');
  expect([37.7802, 123456].map(formatPerplexity)).toEqual(['37.78', '1.235e+5']);
});

test('tables', () => {
  const rows = [
    ['name', 'size'],
    ['a', '10'],
    ['longer', ''],
  ];
  expect(formatTable(rows, [1])).toBe('name    size\na         10\nlonger');
});

test('JSON keeps 64-bit seeds and refuses what it cannot express', () => {
  expect(JSON.parse(toJson({ seed: 2n ** 63n, list: [1] }))).toEqual({
    seed: '9223372036854775808',
    list: [1],
  });
  expect(() => toJson({ perplexity: Number.NaN })).toThrow(/perplexity is NaN/);
});
