/** Row counts that programs are recorded for: `from`, doubling, and `to` itself. Ascending. */
export function doubling(from: number, to: number): number[] {
  const buckets: number[] = [];
  for (let rows = from; rows < to; rows *= 2) buckets.push(rows);
  buckets.push(to);
  return buckets;
}

/** The smallest bucket that fits; the last one when none does. */
export function bucketFor(buckets: readonly number[], fits: (rows: number) => boolean): number {
  return buckets.find(fits) ?? (buckets.at(-1) as number);
}
