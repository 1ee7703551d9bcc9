/** Settings that transformers takes only as floats: 6.0, never 6. */
const ALWAYS_FLOATS = ['llm_int8_threshold', 'damp_percent'];

/** A key and its number at the end of a line or of a list of members. */
const NUMBER_MEMBER = /"([^"\\]+)":(\s*)(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?=\s*[,}\]\n])/g;

/**
 * Keys that have a number with a fraction or an exponent somewhere in a JSON text. JavaScript does
 * not tell 10000.0 from 10000, but readers with types do.
 */
export function floatKeys(text: string): Set<string> {
  const members = text.matchAll(NUMBER_MEMBER);
  const floats = [...members].filter(([, , , number]) => /[.eE]/.test(number as string));
  return new Set(floats.map(([, key]) => key as string));
}

/**
 * A value as an indented JSON text with a line break at its end.
 * @param floats keys whose whole numbers are written with a fraction, beside those that always are
 */
export function formatJson(value: unknown, floats: Iterable<string> = []): string {
  const keys = new Set([...ALWAYS_FLOATS, ...floats]);
  const text = JSON.stringify(value, null, 2);
  const withFractions = text.replace(NUMBER_MEMBER, (member, key: string, _, number: string) =>
    keys.has(key) && /^-?\d+$/.test(number) ? `${member}.0` : member,
  );
  return `${withFractions}\n`;
}
