/**
 * What a site has, for who builds its next bundle: the digests of layers and carried files in its store, and
 * nothing else. It is not signed and need not be: it only steers what a thin bundle leaves out. A false one makes
 * a bundle that is refused at the site, or one that is larger than it had to be. It is not harmless to show:
 * whoever knows the digests of released images can tell which releases the site has.
 */
import type { Digest } from "../model/digest.ts";
import { type JsonSchema, schemaProblem } from "../model/schema.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { transferError } from "./error.ts";

/** More blobs than this no store has; a file is at most INVENTORY_MAX_BYTES long. */
const BLOBS_MAX = 50_000;
export const INVENTORY_MAX_BYTES = 4 * 1024 * 1024;

/** Published as `sealift schema inventory`. */
export const inventorySchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift inventory",
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "blobs"],
  properties: {
    schemaVersion: { const: 1 },
    blobs: {
      type: "array",
      maxItems: BLOBS_MAX,
      items: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
    },
  },
};

/** One digest a line, sorted, so that two of them can be compared by eye. */
export function renderInventory(blobs: Iterable<Digest>): Buffer {
  const sorted = [...new Set(blobs)].sort();
  return Buffer.from(`${JSON.stringify({ schemaVersion: 1, blobs: sorted }, null, 1)}\n`);
}

/** @throws INVENTORY_MALFORMED; `path` is for its message */
export function parseInventory(bytes: Buffer, path: string): Set<Digest> {
  const refuse = (why: string): never => {
    throw transferError("INVENTORY_MALFORMED", `inventory ${JSON.stringify(path)}: ${why}`, {
      hints: ["have it written again, at the site: sealift inventory --out FILE"],
    });
  };
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    return refuse(reasonOf(cause));
  }
  const problem = schemaProblem(inventorySchema, value);
  return problem === undefined ? new Set((value as { blobs: Digest[] }).blobs) : refuse(problem);
}
