/** The text of a reply without the history that it quotes and without signature: a guess, a line at a time. */

/** What stands between one's own text and a message that follows unquoted, in the languages of common clients. */
const DIVIDER =
  /^\W{0,20}(?:original message|ursprüngliche nachricht|message d'origine|mensaje original|messaggio originale|mensagem original|oorspronkelijk bericht|ursprungligt meddelande|oprindelig meddelelse|wiadomość oryginalna)\W{0,20}$/i;

/** What follows it was forwarded: it is what the person has to say, and no history. */
const FORWARD =
  /^\W{0,20}(?:begin forwarded message|forwarded message|weitergeleitete nachricht|message transféré|mensaje reenviado|messaggio inoltrato|mensagem encaminhada|doorgestuurd bericht|vidarebefordrat meddelande)\b/i;

/** Outlook's header of the message that follows: From, then at least two of the others right below. */
const FIRST_FIELD = /^\W{0,3}(?:from|von|de|da|van|från|fra|od)\s?:\W{0,3}\s*\S/i;
const NEXT_FIELD =
  /^\W{0,3}(?:sent|gesendet|envoyé|enviado|enviada|inviato|verzonden|skickat|sendt|wysłano|date|datum|fecha|data|to|an|à|para|a|aan|till|til|do|subject|betreff|objet|asunto|oggetto|assunto|onderwerp|ämne|emne|temat)\s?:/i;

/** Outlook on the web rules it off. */
const RULE = /^_{10,}\s*$/;

/** Lines below the first field among which two others stand. */
const FIELD_LINES = 5;

/** `On <date>, Ann <ann@example.org> wrote:`: how it begins, and the word that it ends with or holds. */
const ATTRIBUTION_BEGIN = /^\s{0,3}(?:on|am|le|el|il|em|op|den|dne|w dniu|dnia)\s/i;
const ATTRIBUTION_END =
  /(?:\swrote|\sschrieb|a écrit|\sescribió|ha scritto|\sescreveu|\sschreef|\sskrev|\snapisał(?:\(a\))?|\spisze)(?:\s.{0,200})?\s?:\s*$/i;

/** Clients wrap an attribution over so many lines. */
const ATTRIBUTION_LINES = 3;

/** Characters of a line that are looked at: no pattern then takes long, whatever the line holds. */
const MAX_LINE = 500;

/** RFC 3676 §4.3; most senders lose the space. */
const SIGNATURE = /^-- ?$/;

/** Characters of a body that is looked at; in a longer one nothing is recognised. */
const MAX_BODY = 256 * 1024;

/** Null where nothing was recognised: then the body is the reply. Time is linear in the length of the body. */
export function replyText(body: string): string | null {
  if (body.length > MAX_BODY) return null;
  const lines = body.split('\n');
  const end = historyStart(lines);
  const signature = lines.slice(0, end).findLastIndex((line) => SIGNATURE.test(line));
  const kept = signature < 0 ? end : signature;
  if (kept === lines.length) return null;
  return lines.slice(0, kept).join('\n').trimEnd();
}

/** The line that the history begins at; the number of lines where there is none. */
function historyStart(lines: readonly string[]): number {
  const unquoted = lines.findIndex((line, at) => FORWARD.test(line) || beginsHistory(lines, at));
  if (unquoted >= 0 && FORWARD.test(lines[unquoted] as string)) return lines.length;
  const ruled = unquoted > 0 && RULE.test(lines[unquoted - 1] as string);
  const last = unquoted < 0 ? lines.length : unquoted - Number(ruled);
  // Quoted lines with text of one's own below them are answered to, and stay.
  let start = last;
  for (let at = last - 1; at >= 0; at -= 1) {
    const line = lines[at] as string;
    if (line.startsWith('>')) start = at;
    else if (line.trim() !== '') break;
  }
  return start === last ? last : attributionAbove(lines, start);
}

function beginsHistory(lines: readonly string[], at: number): boolean {
  const line = (lines[at] as string).slice(0, MAX_LINE);
  if (DIVIDER.test(line)) return true;
  const below = (count: number) => lines.slice(at + 1, at + 1 + count).map((one) => one.slice(0, MAX_LINE));
  if (FIRST_FIELD.test(line)) return below(FIELD_LINES).filter((one) => NEXT_FIELD.test(one)).length >= 2;
  if (!ATTRIBUTION_BEGIN.test(line)) return false;
  const joined = [line, ...below(ATTRIBUTION_LINES - 1)];
  return joined.some((_, last) => ATTRIBUTION_END.test(joined.slice(0, last + 1).join(' ')));
}

/** Whatever its language: the lines right above a quotation, of which the last ends in a colon. */
function attributionAbove(lines: readonly string[], quotation: number): number {
  let last = quotation - 1;
  while (last >= 0 && (lines[last] as string).trim() === '') last -= 1;
  if (last < 0 || !/[:：]$/.test((lines[last] as string).trimEnd())) return quotation;
  let first = last;
  while (first > 0 && last - first < ATTRIBUTION_LINES - 1 && (lines[first - 1] as string).trim() !== '')
    first -= 1;
  // A paragraph of more lines is one's own text, and only its last one introduces the quotation.
  const whole = first === 0 || (lines[first - 1] as string).trim() === '';
  return whole ? first : last;
}
