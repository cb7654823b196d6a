/**
 * JSON that two readers understand differently. RFC 8259 (section 4) leaves open what an object with the same
 * member twice means: JavaScript takes the last one, Go's protojson refuses it, others take the first.
 */

/** Where the string that opens at `start` ends: the index behind its closing quote. */
function endOfString(json: string, start: number): number {
  for (let quote = json.indexOf('"', start + 1); quote >= 0; quote = json.indexOf('"', quote + 1)) {
    let escapes = 0;
    while (json[quote - 1 - escapes] === "\\") escapes += 1;
    if (escapes % 2 === 0) return quote + 1;
  }
  return json.length;
}

/**
 * The name of a member that one object of `json` holds twice, or undefined. Names are compared as they
 * read, so `"a"` and `"\u0061"` are the same. `json` must be JSON that `JSON.parse` accepts; time and memory
 * are linear in its length.
 */
export function duplicateMember(json: string): string | undefined {
  /** The names so far of each object that is open; undefined for an array. */
  const open: (Set<string> | undefined)[] = [];
  let string: readonly [start: number, end: number] = [0, 0];
  for (let at = 0; at < json.length; at += 1) {
    switch (json[at]) {
      case '"':
        string = [at, endOfString(json, at)];
        at = string[1] - 1;
        break;
      case "{":
        open.push(new Set());
        break;
      case "[":
        open.push(undefined);
        break;
      case "}":
      case "]":
        open.pop();
        break;
      case ":": {
        const name = JSON.parse(json.slice(...string)) as string;
        const members = open.at(-1);
        if (members?.has(name)) return name;
        members?.add(name);
      }
    }
  }
  return undefined;
}
