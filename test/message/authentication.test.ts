/** `authentication`: the verdicts of the receiving server, and of nobody else. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mail, parsed, plain } from './helpers.ts';

const RESULTS = 'Authentication-Results:';
const read = (...fields: string[]) =>
  parsed(plain(fields, ''), { authservIds: ['mx.example.org'] }).authentication;
const verdict = (result: string, properties = {}, reason: string | null = null) => ({
  result,
  reason,
  properties,
});

test('of Gmail: signatures with header.i and header.b, SPF with a comment', () => {
  expect(
    parsed(
      plain([
        'Received: by 2002:a05:6402:1000:0:0:0:0 with SMTP id x; Fri, 20 Nov 2026 02:00:00 -0800 (PST)',
        'ARC-Authentication-Results: i=1; mx.google.com; dkim=pass header.i=@arc.example',
        'Received: from mail.example.net (mail.example.net. [192.0.2.1]) by mx.google.com with ESMTPS',
        `${RESULTS} mx.google.com;`,
        '       dkim=pass header.i=@example.net header.s=s1 header.b="AbC/+d=";',
        '       dkim=fail (body hash did not verify) header.i=@news.example header.b=Zz==;',
        '       spf=pass (google.com: domain of ann@example.net designates 192.0.2.1 (as permitted) sender) smtp.mailfrom=ann@example.net;',
        '       dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.net',
      ]),
      { authservIds: ['mx.google.com'] },
    ).authentication,
  ).toEqual({
    authservId: 'mx.google.com',
    spf: verdict('pass', { 'smtp.mailfrom': 'ann@example.net' }),
    dkim: [
      verdict('pass', { 'header.i': '@example.net', 'header.s': 's1', 'header.b': 'AbC/+d=' }),
      verdict('fail', { 'header.i': '@news.example', 'header.b': 'Zz==' }),
    ],
    dmarc: verdict('pass', { 'header.from': 'example.net' }),
    arc: null,
  });
});

test('of milters and a policy server, a field each; SPF on the envelope counts before HELO', () => {
  expect(
    read(
      `${RESULTS} mx.example.org; dmarc=none (p=none dis=none) header.from=example.net`,
      `${RESULTS} mx.example.org 1; spf=none smtp.helo=mail.example.net; spf=softfail reason="not listed; maybe"`,
      '  smtp.mailfrom="a; dmarc=pass"@example.net',
      `${RESULTS} other.example; arc=pass`,
      `${RESULTS} mx.example.org; dkim=none`,
      'Received: from mail.example.net by mx.example.org',
    ),
  ).toEqual({
    authservId: 'mx.example.org',
    spf: verdict('softfail', { 'smtp.mailfrom': 'a; dmarc=pass@example.net' }, 'not listed; maybe'),
    dkim: [verdict('none')],
    dmarc: verdict('none', { 'header.from': 'example.net' }),
    arc: null,
  });
});

test('RFC 8601 appendix B.7: comments and white space wherever they may stand', () => {
  expect(
    read(
      `${RESULTS} (a \\) (b)) mx.example.org (c) 1 (d) ;`,
      ' (e) dkim (f) / (g) 1 (h) = (i) PASS (j) reason (k) = (l) "good" (m) header (n) . (o) D (p) = (q) example.net (r)',
    )?.dkim,
  ).toEqual([verdict('pass', { 'header.d': 'example.net' }, 'good')]);
});

test('no verdict at all is told as such', () => {
  const nothing = { authservId: 'MX.Example.org', spf: null, dkim: [], dmarc: null, arc: null };
  expect(read(`${RESULTS} MX.Example.org; none`)).toEqual(nothing);
  expect(read(`${RESULTS} MX.Example.org`)).toEqual(nothing);
});

describe('what is not trusted', () => {
  test.each([
    ['another server', 'other.example; dmarc=pass'],
    [
      'none, as of Microsoft 365',
      'spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=a.example; dmarc=pass action=none',
    ],
    ['an unknown version', 'mx.example.org 2; dmarc=pass'],
    ['one in a comment', '(mx.example.org;) evil.example; dmarc=pass'],
    ['one in a longer name', 'mx.example.org.evil.example; dmarc=pass'],
    ['one in a verdict', 'evil.example; x=mx.example.org; dmarc=pass'],
    ['an encoded one', '=?us-ascii?Q?mx.example.org;_dmarc=3Dpass?='],
    ['nothing', ''],
  ])('%s', (_, value) => {
    expect(parsed(plain([`${RESULTS} ${value}`]), { authservIds: ['mx.example.org'] })).not.toHaveProperty(
      'authentication',
    );
  });

  test('any, where none is configured', () => {
    expect(parsed(plain([`${RESULTS} mx.example.org; dmarc=pass`]))).not.toHaveProperty('authentication');
  });

  test('what stands below: behind a Received, or of a method that was told above', () => {
    const message = mail(
      `${RESULTS} mx.example.org; dmarc=fail; dkim=fail header.d=a.example`,
      `${RESULTS} mx.example.org; dmarc=pass; dkim=pass header.d=bank.example`,
      'Received: from evil.example by mx.example.org',
      `${RESULTS} mx.example.org; spf=pass; arc=pass`,
      'From: bank@bank.example',
      '',
      '',
    );
    expect(parsed(message, { authservIds: ['mx.example.org'] }).authentication).toEqual({
      authservId: 'mx.example.org',
      spf: null,
      dkim: [verdict('fail', { 'header.d': 'a.example' })],
      dmarc: verdict('fail'),
      arc: null,
    });
  });

  test('an address that carries encoded words, quotes or an open comment brings no verdict of its own', () => {
    expect(
      read(`${RESULTS} mx.example.org; spf=pass smtp.mailfrom="=?utf-8?q?x=3B_dmarc=3Dpass?="@evil.example`)
        ?.dmarc,
    ).toBeNull();
    expect(read(`${RESULTS} mx.example.org; spf=fail (; dmarc=pass`)?.dmarc).toBeNull();
    expect(read(`${RESULTS} mx.example.org; spf=fail smtp.helo="; dmarc=pass`)?.dmarc).toBeNull();
  });
});

test('names of verdicts and properties that would be anything else are left out', () => {
  const verdicts = read(
    `${RESULTS} mx.example.org; dkim=<b>; dkim=pass action=none __proto__=1 header.d=a header.d=b x.__proto__=c`,
  )?.dkim;
  expect(verdicts).toEqual([verdict('pass', { 'header.d': 'a', 'x.__proto__': 'c' })]);
});

test('any field gives a valid document, and a long one takes no time', () => {
  const piece = fc.constantFrom(
    'mx.example.org',
    ';',
    '=',
    '(',
    ')',
    '"',
    '\\',
    ' ',
    '.',
    '/',
    'dkim',
    'pass',
    'a',
  );
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      read(`${RESULTS} mx.example.org;${pieces.join('')}`);
    }),
  );
  for (const part of ['(', '"\\', ';', ';dkim=pass', ' a.b=c', '=', '"']) {
    read(`${RESULTS} mx.example.org;spf=pass ${part.repeat(300_000)}`);
  }
});
