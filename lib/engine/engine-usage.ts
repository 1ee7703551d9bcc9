/** What an engine is busy with. */
export interface EngineUsage {
  /** Requests with cache pages, and requests that wait for them. */
  running: number;
  waiting: number;
  /** How often a sequence had to give its pages back, to be computed again. */
  preemptions: number;
  pages: number;
  freePages: number;
  pageSize: number;
  /** Bytes of the cache. */
  cacheBytes: number;
}
