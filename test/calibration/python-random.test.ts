import { PythonRandom } from '../../lib/calibration/python-random';

// What CPython's random.Random(seed) gives.
test('the generator of Python, seed by seed', () => {
  const words = new PythonRandom(1234);
  expect([words.next(), words.next(), words.next()]).toEqual([4150886329, 3342196574, 1892932127]);
  const zero = new PythonRandom(0);
  expect(Array.from({ length: 5 }, () => zero.integer(0, 999999))).toEqual([
    885440, 403958, 794772, 933488, 441001,
  ]);
  expect(Array.from({ length: 3 }, () => zero.integer(0, 2 ** 31))).toEqual([
    173879092, 1112038970, 2087043557,
  ]);
  const large = new PythonRandom(2n ** 40n + 7n);
  expect(Array.from({ length: 8 }, () => large.integer(0, 10))).toEqual([9, 10, 9, 7, 4, 9, 2, 8]);
});
