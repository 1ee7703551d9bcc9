import { PythonRandom } from '../../lib/calibration/python-random';
import { windowsOfDocuments, windowsOfStream } from '../../lib/calibration/windows';

const ids = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

describe('out of one text', () => {
  test('random places, as the code of the paper draws them', () => {
    const text = ids(1000);
    const windows = windowsOfStream(text, { samples: 5, seqlen: 100 }, new PythonRandom(0));
    // [random.randint(0, 899) for _ in range(5)] after random.seed(0)
    expect(windows.map(([first]) => first)).toEqual([864, 394, 776, 430, 41]);
    for (const window of windows) expect(window).toEqual(ids(100, window[0]));
  });

  test('all of a text that is too short, once', () => {
    const cut = (count: number) =>
      windowsOfStream(ids(count), { samples: 4, seqlen: 100 }, new PythonRandom(0));
    expect(cut(399).map(({ length }) => length)).toEqual([100, 100, 100, 99]);
    expect(cut(399).flat()).toEqual(ids(399));
    // A last window of one id would predict nothing.
    expect(cut(301).map(({ length }) => length)).toEqual([100, 100, 100]);
    expect(cut(50).flat()).toEqual(ids(50));
    expect(() => cut(1)).toThrow(/has 1 ids/);
  });
});

describe('out of documents', () => {
  const lengths = [10, 50, 51, 200, 5, 400];
  const encoded: number[] = [];
  const documents = {
    count: lengths.length,
    encode: (index: number) => {
      encoded.push(index);
      return index === 4 ? undefined : ids(lengths[index] as number, 1000 * index);
    },
  };

  test('only long enough ones, from a random place, as the code of the paper draws them', () => {
    const sizes = { samples: 6, seqlen: 50 };
    const windows = windowsOfDocuments(documents, sizes, new PythonRandom(0));
    const random = new PythonRandom(0);
    const expected: number[] = [];
    while (expected.length < 6) {
      const index = random.integer(0, 5);
      const length = lengths[index] as number;
      if (length > 50) expected.push(1000 * index + random.integer(0, length - 50 - 1));
    }
    expect(windows.map(([first]) => first)).toEqual(expected);
    expect(windows.every(({ length }) => length === 50)).toBe(true);
    // What is known to be too short is not encoded again.
    expect(encoded.filter((index) => index === 0).length).toBeLessThanOrEqual(1);
  });

  test('none where none is long enough', () => {
    const sizes = { samples: 3, seqlen: 500 };
    expect(windowsOfDocuments(documents, sizes, new PythonRandom(0))).toEqual([]);
  });
});
