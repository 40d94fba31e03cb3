/** What of a Message-ID names a message to us. */

/** Longer than a line may be (RFC 5322 §2.1.1) is nobody's key; such messages are told apart by hash. */
const LONGEST_MESSAGE_ID = 998;

/** A Message-ID as the ledger keeps and compares it. */
export function storableId(messageId: string | null | undefined): string | null {
  if (messageId === null || messageId === undefined || messageId === '') return null;
  return messageId.length > LONGEST_MESSAGE_ID ? null : messageId;
}
