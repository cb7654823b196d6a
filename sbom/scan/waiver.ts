/**
 * Waivers: the security role accepts a vulnerability in one version of one package for a while. The file
 * counts only when it is signed; who may sign is the caller's to check, before `readWaivers`.
 */
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { sbomError } from "../error.ts";
import { versionedPurl } from "./purl-match.ts";

export const WAIVERS_MAX_BYTES = 4 * 1024 * 1024;
const DAY_MS = 86_400_000;

export interface Waiver {
  /** File and place in it. */
  readonly where: string;
  /** Any name of it: a CVE or a record's id. */
  readonly vulnerability: string;
  /** purl with a version; qualifiers do not matter. */
  readonly package: string;
  /** Digest of the only image in which it counts; in all if undefined. */
  readonly image: string | undefined;
  readonly reason: string;
  readonly created: Date;
  readonly expires: Date;
}

const time = { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$" };

/** Published as `sealift schema waivers`. */
export const waiversSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift waivers",
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "waivers"],
  properties: {
    schemaVersion: { const: 1 },
    waivers: {
      type: "array",
      maxItems: 10_000,
      items: {
        type: "object",
        additionalProperties: false,
        required: ["vulnerability", "package", "reason", "created", "expires"],
        properties: {
          vulnerability: { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,127}$" },
          package: { type: "string", pattern: "^pkg:", maxLength: 1024 },
          image: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
          reason: { type: "string", minLength: 1, maxLength: 1000 },
          created: time,
          expires: time,
        },
      },
    },
  },
};

/**
 * The waivers in `bytes`, expired ones too. `name` is the file's, for messages.
 * @throws SCAN_STATEMENT_MALFORMED, also for a package without a version and a waiver that runs for more
 * than `maxDays`. Verifies no signature.
 */
export function readWaivers(bytes: Buffer, name: string, maxDays: number): Waiver[] {
  const refuse = (what: string): never => {
    throw sbomError("SCAN_STATEMENT_MALFORMED", `waivers ${JSON.stringify(name)}: ${what}`);
  };
  if (bytes.length > WAIVERS_MAX_BYTES) refuse(`got ${bytes.length} bytes, want at most ${WAIVERS_MAX_BYTES}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    refuse("not JSON in UTF-8");
  }
  const problem = schemaProblem(waiversSchema, value);
  if (problem !== undefined) refuse(problem);
  const { waivers } = value as {
    waivers: (Record<"vulnerability" | "package" | "reason" | "created" | "expires", string> & { image?: string })[];
  };
  return waivers.map((one, i) => {
    const where = `waivers[${i}]`;
    const [created, expires] = [new Date(one.created), new Date(one.expires)];
    if (Number.isNaN(created.getTime()) || Number.isNaN(expires.getTime())) refuse(`${where}: no such time`);
    const days = (expires.getTime() - created.getTime()) / DAY_MS;
    if (days <= 0 || days > maxDays) {
      refuse(`${where}: runs from ${one.created} to ${one.expires}, want at most ${maxDays} days`);
    }
    if (versionedPurl(one.package) === undefined) refuse(`${where}: package has no version`);
    return {
      where: `${name} ${where}`,
      vulnerability: one.vulnerability,
      package: one.package,
      image: one.image,
      reason: one.reason,
      created,
      expires,
    };
  });
}
