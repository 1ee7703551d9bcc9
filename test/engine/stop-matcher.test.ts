import { StopMatcher } from '../../lib/engine/stop-matcher';

/** What comes out when the pieces go in one after the other. */
function run(stops: string[], pieces: string[]): { text: string; stopped: boolean } {
  const matcher = new StopMatcher(stops);
  let out = '';
  for (const piece of pieces) {
    const { text, stopped } = matcher.push(piece);
    out += text;
    if (stopped) return { text: out, stopped };
  }
  return { text: out + matcher.flush(), stopped: false };
}

describe('StopMatcher', () => {
  test('passes everything when there is no stop string', () => {
    const matcher = new StopMatcher([]);
    expect(matcher.push('abc')).toEqual({ text: 'abc', stopped: false });
    expect(matcher.flush()).toBe('');
  });

  test('holds back what may be the beginning of a stop string', () => {
    const matcher = new StopMatcher(['END']);
    expect(matcher.push('the E')).toEqual({ text: 'the ', stopped: false });
    expect(matcher.push('N')).toEqual({ text: '', stopped: false });
    expect(matcher.push('E')).toEqual({ text: 'EN', stopped: false });
    expect(matcher.flush()).toBe('E');
  });

  test('ends before the stop string, wherever the pieces are cut', () => {
    expect(run(['END'], ['a E', 'N', 'D b'])).toEqual({ text: 'a ', stopped: true });
    expect(run(['END'], ['a END b'])).toEqual({ text: 'a ', stopped: true });
  });

  test('finds a match inside a repetition', () => {
    expect(run(['aab'], ['a', 'a', 'a', 'b'])).toEqual({ text: 'a', stopped: true });
  });

  test('the match that is complete first wins', () => {
    expect(run(['abc', 'b'], ['abc'])).toEqual({ text: 'a', stopped: true });
    expect(run(['bc', 'abc'], ['abc'])).toEqual({ text: '', stopped: true });
  });

  test('the outcome does not depend on where the text is cut', () => {
    let state = 7;
    const random = (below: number) => {
      state = (state * 1103515245 + 12345) % 2 ** 31;
      return (state >> 12) % below;
    };
    const word = (length: number) =>
      Array.from({ length }, () => 'abc'[random(3)] as string).join('');
    for (let round = 0; round < 200; round++) {
      const stops = Array.from({ length: 1 + random(3) }, () => word(1 + random(4)));
      const text = word(random(20));
      const pieces: string[] = [];
      for (let rest = text; rest !== ''; ) {
        const cut = 1 + random(rest.length);
        pieces.push(rest.slice(0, cut));
        rest = rest.slice(cut);
      }
      const whole = run(stops, [text]);
      expect(run(stops, pieces)).toEqual(whole);
      expect(whole.stopped).toBe(stops.some((stop) => text.includes(stop)));
      expect(text.startsWith(whole.text)).toBe(true);
      expect(stops.some((stop) => whole.text.includes(stop))).toBe(false);
    }
  });
});
