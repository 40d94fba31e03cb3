/** What may stand for a host, and which hosts are this machine: what goes there is seen by nobody on the way. */
import { BlockList, isIP } from 'node:net';
import { domainToASCII } from 'node:url';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

/** `host`: a name or an IP address without brackets. */
export function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host.toLowerCase() === 'localhost';
  return loopback.check(host, family === 6 ? 'ipv6' : 'ipv4');
}

const HOST_LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i;

/** A host name, international ones included, or an IP address. */
export function isHost(host: string): boolean {
  if (isIP(host) !== 0) return true;
  const ascii = domainToASCII(host).replace(/\.$/, '');
  // Digits only in the last label would be a mistyped address (WHATWG URL, "ends in a number").
  return (
    ascii !== '' &&
    ascii.length <= 253 &&
    ascii.split('.').every((label) => HOST_LABEL.test(label)) &&
    !/(?:^|\.)\d+$/.test(ascii) &&
    isIP(ascii) === 0
  );
}
