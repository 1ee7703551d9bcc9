import { rename, rm, writeFile } from 'node:fs/promises';
import { OptionsError } from '../../errors';
import { channelReport } from '../../eval/channel-report';
import { analyzeChannels } from '../../eval/channels';
import type { Context } from '../context';
import { loadModel } from '../open-model';
import type { ModelOptions } from '../options/model-options';
import { formatCount } from '../output/format';
import type { TextSourceOptions } from '../text-source';
import { openWindows } from '../windowed-text';

export interface ChannelCommandOptions extends ModelOptions, TextSourceOptions {
  window?: number;
  limit?: number;
  out?: string;
}

const DEFAULT_LIMIT = 8;

/** Draws the channels of a model's activations and writes them as a page. */
export async function drawChannels(
  name: string,
  options: ChannelCommandOptions,
  context: Context,
): Promise<void> {
  const { out } = options;
  if (out === undefined) throw new OptionsError('--channels needs --out, the HTML file to write');
  const { output, signal } = context;
  const { folder, ids, maxContext: window } = await openWindows(name, options, context);
  await using model = await loadModel(folder, options, context, { maxContext: window });
  const points = await analyzeChannels(model, ids, {
    window,
    limit: options.limit ?? DEFAULT_LIMIT,
    signal,
    onProgress: ({ done, total }) =>
      output.progress.update('channels', done, total, `window ${done + 1} of ${total}`),
  });
  const tokens = Math.min(ids.length, window * (options.limit ?? DEFAULT_LIMIT));
  await writeWhole(out, await channelReport(name, points, { tokens }));
  output.result({ model: name, out, window, tokens, points });
  output.line(`${out}: ${points.length} charts of ${formatCount(tokens)} tokens`);
}

/** Under a temporary name first, so that nobody sees half of it. */
async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, text);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
