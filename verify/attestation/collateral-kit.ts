/**
 * Collateral on its way back from a connected machine: the files as the vendors' servers sent them, a statement that
 * names each by digest with where and when it was fetched, and an OpenSSH signature over the statement's bytes. The
 * vendors have signed the files themselves; the statement adds who fetched them, and that they were the newest then.
 *
 * Read here, believed elsewhere: whose signature counts is for whoever imports it to say, and what is in the files for
 * collateral-check.ts.
 */
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { CRL_MAX_BYTES } from "./certificate.ts";
import type { CollateralNeed } from "./collateral-needs.ts";
import { needsSchema } from "./collateral-request.ts";
import { attestationError } from "./error.ts";
import { closed, digest } from "./policy-schema.ts";
import { COLLATERAL_FILES_MAX, type CollateralFile } from "./read-collateral.ts";

export const COLLATERAL_KIT_MAX_BYTES = 8 * 1024 * 1024;
/** The namespace of the signature: none made for anything else counts. */
export const COLLATERAL_NAMESPACE = "sealift-collateral";
/** A file of a kit becomes one of a directory: nothing in its name leads out of it, hides it or says it is unfinished. */
const FILE_NAME_PATTERN = "^[a-z0-9][a-z0-9.-]{0,127}$";
const STATEMENT_MAX_BYTES = 128 * 1024;
const SIGNATURE_MAX_BYTES = 32 * 1024;

export interface FetchedFile extends CollateralFile {
  /** The address, as it was asked. */
  readonly source: string;
}

export interface CollateralStatement {
  readonly schemaVersion: 1;
  readonly kind: "sealift-collateral";
  readonly needs: readonly CollateralNeed[];
  /** RFC 3339, by the connected machine's clock, before the first file was asked for. */
  readonly fetched: string;
  readonly files: readonly { readonly name: string; readonly digest: Digest; readonly source: string }[];
}

export interface CollateralKit {
  readonly statement: CollateralStatement;
  /** What is signed, byte for byte. */
  readonly statementBytes: Buffer;
  /** PEM-like, as ssh-keygen writes it. */
  readonly signature: Buffer;
  readonly files: readonly CollateralFile[];
}

const list = (items: object): object => ({ type: "array", minItems: 1, maxItems: COLLATERAL_FILES_MAX, items });
const name = { type: "string", pattern: FILE_NAME_PATTERN };

/** Published as `sealift schema collateral`. */
export const collateralStatementSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Statement about fetched attestation collateral",
  ...closed({
    schemaVersion: { const: 1 },
    kind: { const: "sealift-collateral" },
    needs: needsSchema,
    fetched: { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$" },
    files: list(closed({ name, digest, source: { type: "string", maxLength: 1024 } })),
  }),
};

const kitSchema = closed({
  schemaVersion: { const: 1 },
  kind: { const: "sealift-collateral-kit" },
  statement: { type: "string", maxLength: STATEMENT_MAX_BYTES },
  signature: { type: "string", maxLength: SIGNATURE_MAX_BYTES },
  files: list(
    closed({
      name,
      base64: {
        type: "string",
        maxLength: Math.ceil(CRL_MAX_BYTES / 3) * 4,
        pattern: "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
      },
    }),
  ),
}) as JsonSchema;

/** What is to be signed. */
export function writeCollateralStatement(
  needs: readonly CollateralNeed[],
  fetched: Date,
  files: readonly FetchedFile[],
): Buffer {
  const named = files.map((file) => ({ name: file.name, digest: digestOf(file.bytes), source: file.source }));
  return canonicalJson({
    schemaVersion: 1,
    kind: "sealift-collateral",
    needs,
    fetched: fetched.toISOString(),
    files: named,
  } satisfies CollateralStatement);
}

export function writeCollateralKit({ statementBytes, signature, files }: Omit<CollateralKit, "statement">): Buffer {
  return canonicalJson({
    schemaVersion: 1,
    kind: "sealift-collateral-kit",
    statement: statementBytes.toString("utf8"),
    signature: signature.toString("latin1"),
    files: files.map((file) => ({ name: file.name, base64: file.bytes.toString("base64") })),
  });
}

/** Checks form, and that the files are those of the statement; no signature. @throws ATTEST_COLLATERAL_MALFORMED */
export function readCollateralKit(bytes: Buffer): CollateralKit {
  if (bytes.length > COLLATERAL_KIT_MAX_BYTES) throw malformed(`more than ${COLLATERAL_KIT_MAX_BYTES} bytes`);
  const kit = canonical(bytes, kitSchema, "kit") as {
    readonly statement: string;
    readonly signature: string;
    readonly files: readonly { readonly name: string; readonly base64: string }[];
  };
  const statementBytes = Buffer.from(kit.statement, "utf8");
  const statement = canonical(statementBytes, collateralStatementSchema, "statement") as CollateralStatement;
  if (Number.isNaN(Date.parse(statement.fetched))) throw malformed("statement: its time does not exist");
  const files = kit.files.map((file) => ({ name: file.name, bytes: Buffer.from(file.base64, "base64") }));
  const names = files.map((file) => file.name);
  if (new Set(names).size !== names.length) throw malformed("a name is there twice");
  const named = statement.files.map((file) => `${file.name} ${file.digest}`);
  const there = files.map((file) => `${file.name} ${digestOf(file.bytes)}`);
  if (named.join("\n") !== there.join("\n")) throw malformed("its files are not those that its statement names");
  const read = { statement, statementBytes, signature: Buffer.from(kit.signature, "latin1"), files };
  // Base64 has spellings that its pattern does not tell apart, and a signature is ASCII.
  if (!writeCollateralKit(read).equals(bytes)) throw malformed("kit: not as it was written; carry the file as it is");
  return read;
}

function canonical(bytes: Buffer, schema: JsonSchema, what: string): unknown {
  const value = parseCanonicalJson(bytes);
  if (value === undefined) throw malformed(`${what}: not canonical JSON; carry the file as it is`);
  const problem = schemaProblem(schema, value);
  if (problem !== undefined) throw malformed(`${what}: ${problem}`);
  return value;
}

function malformed(problem: string): Error {
  return attestationError("ATTEST_COLLATERAL_MALFORMED", `collateral kit: ${problem}`);
}
