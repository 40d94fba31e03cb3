/** Names what a file operation in the storage directory failed with, by the system's error number. */
import { type ErrorCode, MailwatchdError } from '../errors.ts';

const CODES: Record<string, ErrorCode> = {
  ENOSPC: 'STORAGE_FULL',
  EDQUOT: 'STORAGE_FULL',
  EROFS: 'STORAGE_READ_ONLY',
  EACCES: 'STORAGE_DENIED',
  EPERM: 'STORAGE_DENIED',
};

/** A rejection handler that throws the STORAGE_… error for `path`. */
export function storageError(path: string): (error: unknown) => never {
  return (error) => {
    const number = error instanceof Error && 'code' in error ? String(error.code) : '';
    const detail = error instanceof Error ? error.message : String(error);
    throw new MailwatchdError(CODES[number] ?? 'STORAGE_FAILED', { where: path, detail, cause: error });
  };
}
