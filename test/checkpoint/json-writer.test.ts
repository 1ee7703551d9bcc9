import { floatKeys, formatJson } from '../../lib/checkpoint/json-writer';

test('finds the keys that hold floats', () => {
  const text = '{"a": 1.0, "b": 2, "c": {"d": 1e-05, "e": "3.5"},\n "f": -4.25}';
  expect([...floatKeys(text)]).toEqual(['a', 'd', 'f']);
});

test('whole numbers of those keys keep their fraction', () => {
  const value = {
    rope_theta: 10000,
    layers: 4,
    inner: { scale: -2, eps: 1e-5 },
    text: 'scale": 1,',
  };
  const text = formatJson(value, ['rope_theta', 'scale', 'eps']);
  expect(text).toContain('"rope_theta": 10000.0,\n');
  expect(text).toContain('"layers": 4,\n');
  expect(text).toContain('"scale": -2.0,\n');
  expect(JSON.parse(text)).toEqual(value);
});

test('a threshold is a float, as transformers asks for', () => {
  expect(formatJson({ llm_int8_threshold: 6 })).toBe('{\n  "llm_int8_threshold": 6.0\n}\n');
  expect(formatJson({ llm_int8_threshold: 0.5 })).toContain('"llm_int8_threshold": 0.5');
});
