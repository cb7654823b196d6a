/** Under which name an engine pulls and keeps an image of a release. */

/** Loopback, so that Docker speaks plain HTTP to it, and unusual, so that nobody else is there. */
export const ENDPOINT_HOST = "127.83.76.1";
export const ENDPOINT_PORT = 5000;

const PREFIX = `${ENDPOINT_HOST}:${ENDPOINT_PORT}/`;

/** `pinned` is `NAME@DIGEST`. */
export function imageReference(appliance: string, pinned: string): string {
  return `${PREFIX}${appliance}/${pinned}`;
}

/** Appliance and `NAME@DIGEST` of an image that came from a release; nothing of any other. */
export function partsOfReference(reference: string): readonly [appliance: string, pinned: string] | undefined {
  if (!reference.startsWith(PREFIX)) return undefined;
  const [appliance, pinned, more] = reference.slice(PREFIX.length).split("/");
  return appliance !== undefined && pinned !== undefined && more === undefined ? [appliance, pinned] : undefined;
}
