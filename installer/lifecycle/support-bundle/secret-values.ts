/**
 * A second look, after the allow lists: no value of the site's secrets may be in what is handed on. It needs no
 * trust in the lists, and they need none in it: what is no file of the site's (a prompt, a key of a client) only
 * they keep out.
 */
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { readStateFile } from "../../site/disk.ts";

const SECRET_MAX_BYTES = 64 * 1024;
/** Shorter ones stand in other texts by chance. */
const LEAST_BYTES = 12;
const FILES_MAX = 2_000;
/** Keys that lie beside the records. */
const OF_THE_SITE = /\.pem$|^client-authority\.json$/;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----\n([^-]+)-----END/g;

export interface SecretSearch {
  /** The forms in which the values of the site's secrets would show: as they are, in base64 and in hexadecimal. */
  readonly forms: readonly Buffer[];
  /** Every value is in `forms`; if not, what was not found may still be there. */
  readonly isWhole: boolean;
}

/** Never fails: what cannot be read makes the search less than whole. */
export function secretSearch(state: string): SecretSearch {
  const count = { left: FILES_MAX };
  let isWhole = true;
  const tried = <Value>(work: () => Value, otherwise: Value): Value => {
    try {
      return work();
    } catch {
      isWhole = false;
      return otherwise;
    }
  };
  const below = (name: string): string[] => tried(() => filesBelow(join(state, name), count), []);
  const secrets = below("secrets");
  const keys = below("site").filter(
    (path) => OF_THE_SITE.test(path.slice(path.lastIndexOf("/") + 1)) || path.includes("/site/rotation/"),
  );
  const forms = [...secrets, ...keys].flatMap((path) => {
    const bytes = tried(() => readStateFile(path, SECRET_MAX_BYTES), undefined);
    return bytes ? valuesIn(bytes.toString("latin1")).flatMap(formsOf) : [];
  });
  return { forms, isWhole: isWhole && count.left >= 0 };
}

/** Of a PEM file the lines of its private keys, else what is in it. A public key is no secret. */
function valuesIn(content: string): string[] {
  if (!content.includes("-----BEGIN ")) return [content.trim()];
  return [...content.replaceAll("\\n", "\n").matchAll(PRIVATE_KEY)].flatMap(([, body = ""]) => body.trim().split("\n"));
}

function formsOf(value: string): Buffer[] {
  if (value.length < LEAST_BYTES) return [];
  const bytes = Buffer.from(value, "latin1");
  // The end of base64 depends on what follows.
  const base64 = bytes.toString("base64").replace(/.{0,3}=*$/, "");
  const forms = [value, base64, base64.replaceAll("+", "-").replaceAll("/", "_"), bytes.toString("hex")];
  return [...new Set(forms)].map((form) => Buffer.from(form, "latin1"));
}

function filesBelow(directory: string, count: { left: number }): string[] {
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  if (!stat?.isDirectory()) return [];
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    count.left -= 1;
    if (count.left < 0) return [];
    const path = join(directory, entry.name);
    return entry.isDirectory() ? filesBelow(path, count) : entry.isFile() ? [path] : [];
  });
}
