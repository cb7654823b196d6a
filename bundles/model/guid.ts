/** GUIDs as firmware tables hold them: the first three groups little-endian. */

const GUID = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/;

/** The 16 bytes of a GUID that stands in our source. */
export function guidBytes(text: string): Buffer {
  const [, first = "", second = "", third = "", ...rest] = GUID.exec(text) ?? [];
  if (first === "") throw new TypeError(`not a GUID: ${text}`);
  const little = [first, second, third].map((group) => Buffer.from(group, "hex").reverse());
  return Buffer.concat([...little, Buffer.from(rest.join(""), "hex")]);
}
