import { CheckpointError } from '../errors';

/**
 * The texts of one column of a parquet file.
 * @throws CheckpointError when it cannot be read or has no such column of strings
 */
export async function readParquetColumn(path: string, column: string): Promise<string[]> {
  // Loaded late, and an ES module.
  const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } =
    await import('hyparquet');
  let rows: Record<string, unknown>[];
  let columns: string[];
  try {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    columns = parquetSchema(metadata).children.map(({ element }) => element.name);
    if (!columns.includes(column)) {
      rows = [];
    } else {
      rows = await parquetReadObjects({ file, metadata, columns: [column] });
    }
  } catch (cause) {
    const { message } = cause as Error;
    throw new CheckpointError(`${path} cannot be read as parquet: ${message}`, { cause });
  }
  if (!columns.includes(column)) {
    throw new CheckpointError(
      `${path} has no column '${column}'; it has ${columns.join(', ') || 'none'}`,
    );
  }
  return rows.map((row, i) => {
    const text = row[column];
    if (typeof text === 'string') return text;
    throw new CheckpointError(`${path}: row ${i} of the column '${column}' is no text`);
  });
}
