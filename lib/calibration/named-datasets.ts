import type { DatasetFile } from '../checkpoint/hub/dataset';

/** Where a well-known text lies, and what of it is calibrated with. */
export interface NamedDataset {
  readonly file: DatasetFile;
  /** The column or key that holds the text. */
  readonly field: string;
  /**
   * `stream`: its rows make one long text; `documents`: each sample comes out of one row that is long
   * enough.
   */
  readonly kind: 'stream' | 'documents';
}

/** The training texts of the paper's code (arXiv 2210.17323, section 4), under its names. */
export const NAMED_DATASETS: Readonly<Record<string, NamedDataset>> = {
  wikitext2: {
    file: {
      repo: 'Salesforce/wikitext',
      path: 'wikitext-2-raw-v1/train-00000-of-00001.parquet',
    },
    field: 'text',
    kind: 'stream',
  },
  ptb: {
    file: {
      repo: 'ptb-text-only/ptb_text_only',
      path: 'penn_treebank/train/0000.parquet',
      // The dataset itself is a script; the hub converts it.
      revision: 'refs/convert/parquet',
    },
    field: 'sentence',
    kind: 'stream',
  },
  c4: {
    file: { repo: 'allenai/c4', path: 'en/c4-train.00000-of-01024.json.gz' },
    field: 'text',
    kind: 'documents',
  },
};
