/** Options of every error class here: the error that was the reason, if there is one. */
export interface ErrorOptions {
  cause?: unknown;
}

/**
 * Base of all errors that fewbit throws on purpose. `code` is stable across releases; the message
 * says what was wrong and what to do about it.
 */
export class FewbitError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** A model folder or one of its files is missing, damaged or inconsistent. */
export class CheckpointError extends FewbitError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_FEWBIT_CHECKPOINT', message, options);
  }
}

/** A model could not be fetched from the hub. `status` is the HTTP status, when there was one. */
export class HubError extends FewbitError {
  readonly status?: number;

  constructor(message: string, options?: ErrorOptions & { status?: number }) {
    super('ERR_FEWBIT_HUB', message, options);
    this.status = options?.status;
  }
}

/** The input is valid, but asks for something that this version does not implement. */
export class UnsupportedError extends FewbitError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_FEWBIT_UNSUPPORTED', message, options);
  }
}

/** The object was used after `dispose()`. */
export class DisposedError extends FewbitError {
  /** @param what names the object, e.g. `tensor f16[2, 4]` */
  constructor(what: string) {
    super('ERR_FEWBIT_DISPOSED', `${what} was used after it was disposed`);
  }
}

/** An argument or option of a public function is wrong. */
export class OptionsError extends FewbitError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_FEWBIT_OPTIONS', message, options);
  }
}
