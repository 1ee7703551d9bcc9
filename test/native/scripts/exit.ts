/** Ends the process in the way that the argument names, while a model is in use. */
import { generate, openModel, PROMPT } from './model';

async function main(way: string): Promise<void> {
  const model = await openModel();
  if (way === 'idle') {
    await generate(model, 5);
    return; // Nothing is disposed of; an idle model must not keep the process alive.
  }
  const generation = model.engine.generate(PROMPT, { maxNewTokens: 200, ignoreEos: true });
  await generation.next();
  if (way === 'exit') process.exit(0);
  if (way === 'forgotten') return; // The text is finished first.
  if (way === 'disposed') {
    await model.dispose();
    await generation.result().catch((error: { code: string }) => console.log(error.code));
    return;
  }
  throw new Error('thrown while generating');
}

void main(process.argv[2] as string);
