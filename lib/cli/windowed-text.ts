import { openCheckpoint } from '../checkpoint/checkpoint';
import { DEFAULT_WINDOW } from '../eval/windows';
import type { Context } from './context';
import { findModel } from './open-model';
import type { ModelOptions } from './options/model-options';
import { readIds, type TextSourceOptions } from './text-source';

/** A text that a model is to read in windows. */
export interface WindowedText {
  /** The model's. */
  folder: string;
  ids: ArrayLike<number>;
  /** As asked for, or the default, which the model can hold. */
  window: number;
  /** No more than the model can hold. */
  maxContext: number;
}

/** Finds the model and reads the text that the options name. */
export async function openWindows(
  name: string,
  options: ModelOptions & TextSourceOptions & { window?: number },
  context: Context,
): Promise<WindowedText> {
  const folder = await findModel(name, options, context);
  const ids = await readIds(options, folder);
  const { config } = await openCheckpoint(folder);
  const longest = config.maxPositionEmbeddings;
  const window = options.window ?? Math.min(DEFAULT_WINDOW, longest);
  return { folder, ids, window, maxContext: Math.min(window, longest) };
}
