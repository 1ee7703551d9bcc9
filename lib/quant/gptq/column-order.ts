/**
 * Input columns put in the order of their groups. Position p belongs to group `p / groupSize`, as
 * ops on GPTQ weights have it.
 */
export interface ColumnOrder {
  /** The input column at each position, -1 for padding. */
  order: Int32Array;
  /** The group on disk that each run of `groupSize` positions belongs to. */
  groups: Int32Array;
}

/**
 * The order that a checkpoint's `g_idx` asks for (act-order), undefined where it is `i / groupSize`
 * already. Groups larger than `groupSize` are cut in pieces, and all but the last are padded: both
 * do not happen in files that quantizers write.
 * @param groupOf the group of each input column, 0 .. G-1
 */
export function columnOrder(groupOf: Int32Array, groupSize: number): ColumnOrder | undefined {
  if (groupOf.every((group, i) => group === Math.floor(i / groupSize))) return undefined;
  // Stable, so columns of a group stay in the order of memory.
  const sorted = Int32Array.from(groupOf.keys()).sort(
    (a, b) => (groupOf[a] as number) - (groupOf[b] as number) || a - b,
  );
  const order: number[] = [];
  const groups: number[] = [];
  for (const column of sorted) {
    const group = groupOf[column] as number;
    if (order.length % groupSize !== 0 && group !== groups.at(-1)) {
      while (order.length % groupSize !== 0) order.push(-1);
    }
    if (order.length % groupSize === 0) groups.push(group);
    order.push(column);
  }
  return { order: Int32Array.from(order), groups: Int32Array.from(groups) };
}
