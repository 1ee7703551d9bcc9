import { getEventListeners } from 'node:events';
import { Generation } from '../../lib/engine/generation';

function start(signal?: AbortSignal) {
  let released = 0;
  const generation = new Generation({ promptTokens: 3, seed: 5, signal }, async () => {
    released++;
  });
  return { generation, releases: () => released };
}

describe('Generation', () => {
  test('yields tokens pushed before and after they are asked for', async () => {
    const { generation } = start();
    generation.push({ token: 1, text: 'a' });
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const event of generation) seen.push(event);
    })();
    await Promise.resolve();
    generation.push({ token: 2, text: 'b' });
    generation.push({ token: undefined, text: 'c' });
    generation.finish('stop');
    await reading;
    expect(seen).toEqual([
      { token: 1, text: 'a' },
      { token: 2, text: 'b' },
      { token: undefined, text: 'c' },
    ]);
    expect(await generation.result()).toEqual({
      tokens: [1, 2],
      text: 'abc',
      finishReason: 'stop',
      promptTokens: 3,
      seed: 5,
    });
  });

  test('serves several readers in order', async () => {
    const { generation } = start();
    const reads = [generation.next(), generation.next(), generation.next()];
    generation.push({ token: 1, text: '' });
    generation.push({ token: 2, text: '' });
    generation.finish('length');
    const results = await Promise.all(reads);
    expect(results.map(({ value }) => value?.token)).toEqual([1, 2, undefined]);
    expect(results.map(({ done }) => done)).toEqual([false, false, true]);
  });

  test('an error reaches the reader after the tokens before it', async () => {
    const { generation } = start();
    generation.push({ token: 1, text: '' });
    generation.fail(new Error('broken'));
    generation.push({ token: 2, text: '' });
    expect((await generation.next()).value).toEqual({ token: 1, text: '' });
    await expect(generation.next()).rejects.toThrow('broken');
    await expect(generation.result()).rejects.toThrow('broken');
    expect(generation.finishReason).toBeUndefined();
  });

  test('break ends it, gives its memory back and drops unread tokens', async () => {
    const { generation, releases } = start();
    for (let token = 0; token < 3; token++) generation.push({ token, text: `${token}` });
    for await (const { token } of generation) if (token === 1) break;
    expect(releases()).toBe(1);
    expect(generation.finishReason).toBe('abort');
    expect(await generation.next()).toEqual({ done: true, value: undefined });
    expect(await generation.result()).toMatchObject({ tokens: [0, 1, 2], finishReason: 'abort' });
  });

  test('a signal that is aborted already: nothing starts, the reason is thrown', async () => {
    const { generation } = start(AbortSignal.abort('why'));
    expect(generation.ended).toBe(true);
    await expect(generation.next()).rejects.toBe('why');
    await expect(generation.result()).rejects.toBe('why');
  });

  test('an abort in the middle rejects the waiting reader and leaves no listener', async () => {
    const controller = new AbortController();
    const { generation, releases } = start(controller.signal);
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1);
    generation.push({ token: 1, text: '' });
    await generation.next();
    const waiting = generation.next();
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(generation.result()).rejects.toThrow('enough');
    expect(releases()).toBe(1);
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
  });

  test('a normal end removes the listener; a late abort changes nothing', async () => {
    const controller = new AbortController();
    const { generation, releases } = start(controller.signal);
    generation.finish('length');
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
    controller.abort();
    expect(releases()).toBe(0);
    expect((await generation.result()).finishReason).toBe('length');
  });
});
