/** Turns tokens into text one by one. What `push` returns never ends inside a character. */
export interface StreamDecoder {
  push(id: number): string;
  /** The rest, once no further token follows. */
  flush(): string;
}
