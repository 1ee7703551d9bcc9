import { channelChart } from './channel-chart';
import { CHANNEL_POINTS, type PointChannels } from './channels';

const STYLE = `
  body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 1280px; padding: 0 1rem; }
  h1 { font-size: 1.5rem; margin-bottom: 0.3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
  p { max-width: 46rem; color: #444; } .row { display: grid; grid-template-columns: repeat(auto-fill, minmax(350px, 1fr)); gap: 1rem; }
  figure { margin: 0; padding: 0.5rem; border: 1px solid #e4e4e4; border-radius: 8px; } svg { max-width: 100%; height: auto; }
  details { font-size: 12px; color: #555; max-width: 20rem; } td, th { padding: 0 0.6em; text-align: right; }`;

/**
 * A page that needs nothing else: a chart for each activation of each layer, with the ranges of its
 * clusters below it.
 */
export async function channelReport(
  model: string,
  points: readonly PointChannels[],
  { tokens }: { tokens: number },
): Promise<string> {
  const layers = new Map<number, PointChannels[]>();
  for (const point of points) layers.set(point.layer, [...(layers.get(point.layer) ?? []), point]);
  const sections: string[] = [];
  for (const [layer, own] of layers) {
    const figures: string[] = [];
    for (const point of own) {
      const svg = await channelChart(point, CHANNEL_POINTS[point.point]);
      figures.push(
        `<figure data-layer="${layer}" data-point="${point.point}">${svg}${ranges(point)}</figure>`,
      );
    }
    sections.push(`<h2>Layer ${layer}</h2>\n<div class="row">${figures.join('\n')}</div>`);
  }
  const name = escaped(model);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Channels of ${name}</title>
<style>${STYLE}
</style>
<h1>Channels of ${name}</h1>
<p>Each point is a channel, at its largest and smallest value over ${tokens} tokens. Channels of one
colour are one cluster of RPTQ (arXiv 2304.01089) and share a scale; the boxes are the clusters.
Queries, keys and values are clustered head by head.</p>
${sections.join('\n')}
</html>
`;
}

function ranges({ clusters }: PointChannels): string {
  const rows = clusters.map(
    ({ channels, min, max }, c) =>
      `<tr><td>${c}</td><td>${channels}</td><td>${min.toPrecision(4)}</td><td>${max.toPrecision(4)}</td></tr>`,
  );
  return `<details><summary>${clusters.length} clusters</summary><table>
<tr><th>cluster</th><th>channels</th><th>min</th><th>max</th></tr>${rows.join('\n')}</table></details>`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
