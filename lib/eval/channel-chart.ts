import type * as Vega from 'vega';
import { FewbitError } from '../errors';
import type { PointChannels } from './channels';

const SIZE = 250;

/** Renders one activation: a point for each channel at (max, min), a box for each cluster's range. */
export async function channelChart(channels: PointChannels, title: string): Promise<string> {
  const vega = loadVega();
  const view = new vega.View(vega.parse(specOf(channels, title)), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** Loaded when it is needed: nothing else does. */
function loadVega(): typeof Vega {
  try {
    return require('vega');
  } catch (error) {
    throw new FewbitError(
      'ERR_FEWBIT_MISSING_PACKAGE',
      'charts need the optional package vega, which is not installed: npm install vega@5',
      { cause: error },
    );
  }
}

function specOf({ min, max, cluster, clusters }: PointChannels, title: string): Vega.Spec {
  const shade = (c: number): number => (clusters.length > 1 ? c / (clusters.length - 1) : 0);
  const values = max.map((high, channel) => {
    const c = cluster[channel] as number;
    return { channel, cluster: c, max: high, min: min[channel], shade: shade(c) };
  });
  const boxes = clusters.map((own, c) => {
    const members = values.filter((value) => value.cluster === c);
    const mins = members.map((value) => value.min as number);
    return {
      ...{ cluster: c, channels: own.channels, low: own.min, high: own.max, shade: shade(c) },
      left: Math.min(...members.map((value) => value.max)),
      right: own.max,
      bottom: own.min,
      top: Math.max(...mins),
    };
  });
  const axis = {
    grid: true,
    gridOpacity: 0.5,
    tickCount: 5,
    labelColor: '#555',
    titleColor: '#555',
  };
  const color = { scale: 'color', field: 'shade' };
  return {
    $schema: 'https://vega.github.io/schema/vega/v5.json',
    width: SIZE,
    height: SIZE,
    padding: 6,
    title: { text: title, anchor: 'start', fontSize: 13, color: '#222' },
    data: [
      { name: 'channels', values },
      { name: 'clusters', values: boxes },
    ],
    scales: [
      {
        name: 'x',
        type: 'linear',
        domain: { data: 'channels', field: 'max' },
        nice: true,
        range: 'width',
      },
      {
        name: 'y',
        type: 'linear',
        domain: { data: 'channels', field: 'min' },
        nice: true,
        range: 'height',
      },
      { name: 'color', type: 'linear', domain: [0, 1], range: { scheme: 'turbo' } },
    ],
    axes: [
      { ...axis, orient: 'bottom', scale: 'x', title: 'largest value' },
      { ...axis, orient: 'left', scale: 'y', title: 'smallest value' },
    ],
    marks: [
      {
        type: 'rect',
        from: { data: 'clusters' },
        encode: {
          enter: {
            x: { scale: 'x', field: 'left', offset: -3 },
            x2: { scale: 'x', field: 'right', offset: 3 },
            y: { scale: 'y', field: 'top', offset: -3 },
            y2: { scale: 'y', field: 'bottom', offset: 3 },
            cornerRadius: { value: 3 },
            fill: color,
            fillOpacity: { value: 0.08 },
            stroke: color,
            strokeOpacity: { value: 0.55 },
            description: {
              signal:
                "'cluster ' + datum.cluster + ', ' + datum.channels + ' channels, ' + format(datum.low, '.4~g') + ' to ' + format(datum.high, '.4~g')",
            },
          },
        },
      },
      {
        type: 'symbol',
        from: { data: 'channels' },
        encode: {
          enter: {
            x: { scale: 'x', field: 'max' },
            y: { scale: 'y', field: 'min' },
            size: { value: 14 },
            fill: color,
            fillOpacity: { value: 0.85 },
            stroke: { value: '#fff' },
            strokeWidth: { value: 0.3 },
            description: {
              signal:
                "'channel ' + datum.channel + ', ' + format(datum.min, '.4~g') + ' to ' + format(datum.max, '.4~g')",
            },
          },
        },
      },
    ],
  };
}
