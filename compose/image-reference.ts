/** Under which name an engine pulls and keeps an image of a release. */

/** Loopback, so that Docker speaks plain HTTP to it, and unusual, so that nobody else is there. */
export const ENDPOINT_HOST = "127.83.76.1";
export const ENDPOINT_PORT = 5000;

/** `pinned` is `NAME@DIGEST`. */
export function imageReference(appliance: string, pinned: string): string {
  return `${ENDPOINT_HOST}:${ENDPOINT_PORT}/${appliance}/${pinned}`;
}
