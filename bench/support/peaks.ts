/** What a device can do at most, from its vendor's data sheet (dense, boost clock). */
export interface Peaks {
  /** Bytes per second from device memory. */
  bandwidth: number;
  /** Operations per second of the 16-bit and the int8 matrix units. */
  half: number;
  int8: number;
  /** The same in fp32 without shortcuts, and in double precision. */
  single: number;
  double: number;
}

const PEAKS: [pattern: RegExp, peaks: Peaks][] = [
  [/H200/, { bandwidth: 4.8e12, half: 989e12, int8: 1979e12, single: 67e12, double: 67e12 }],
  [/H100 PCIe/, { bandwidth: 2.0e12, half: 756e12, int8: 1513e12, single: 51e12, double: 51e12 }],
  [/H100/, { bandwidth: 3.35e12, half: 989e12, int8: 1979e12, single: 67e12, double: 67e12 }],
  [
    /A100.*80GB/,
    { bandwidth: 2.04e12, half: 312e12, int8: 624e12, single: 19.5e12, double: 19.5e12 },
  ],
  [/A100/, { bandwidth: 1.56e12, half: 312e12, int8: 624e12, single: 19.5e12, double: 19.5e12 }],
  [/L40S/, { bandwidth: 0.86e12, half: 362e12, int8: 733e12, single: 91.6e12, double: 1.4e12 }],
  [/RTX 4090/, { bandwidth: 1.01e12, half: 165e12, int8: 661e12, single: 82.6e12, double: 1.3e12 }],
];

/** undefined for a device that is not in the table; shares are then left out. */
export function peaksOf(deviceName: string): Peaks | undefined {
  return PEAKS.find(([pattern]) => pattern.test(deviceName))?.[1];
}
