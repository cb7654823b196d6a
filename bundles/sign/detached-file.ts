/**
 * The file that carries a signature over a release from the key's machine to the bundle: JSON with both
 * forms that cosign reads. `bundle sign --digest` writes it, `bundle attach` takes it in; `attach` takes
 * a bare Sigstore bundle as well, as `cosign attest-blob --new-bundle-format` writes it.
 */

import type { DetachedSignature } from "../layout/signature-object.ts";
import { canonicalJson } from "../model/canonical-json.ts";
import { type Digest, isDigest } from "../model/digest.ts";
import { SIGSTORE_BUNDLE } from "../model/media-types.ts";
import { type JsonSchema, schemaProblem } from "../model/schema.ts";
import { signError } from "./error.ts";

const DETACHED = "application/vnd.sealift.signature.v1+json";

const detachedSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["mediaType", "subject", "sigstoreBundle", "simpleSigning"],
  properties: {
    mediaType: { const: DETACHED },
    subject: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
    sigstoreBundle: { type: "object" },
    simpleSigning: {
      type: "object",
      additionalProperties: false,
      required: ["payload", "signature"],
      properties: { payload: { type: "string" }, signature: { type: "string" } },
    },
  },
};

export interface DetachedFile {
  readonly subject: Digest;
  readonly signatures: readonly DetachedSignature[];
}

export function renderDetachedFile(
  subject: Digest,
  sigstoreBundle: Buffer,
  simple: { readonly payload: Buffer; readonly signature: string },
): Buffer {
  return canonicalJson({
    mediaType: DETACHED,
    subject,
    sigstoreBundle: JSON.parse(sigstoreBundle.toString("utf8")),
    simpleSigning: { payload: simple.payload.toString("base64"), signature: simple.signature },
  });
}

/** @throws SIGNATURE_FILE_MALFORMED. Verifies nothing: `verify` does, after the signature is in the bundle. */
export function parseDetachedFile(bytes: Buffer, name: string): DetachedFile {
  const refuse = (what: string): never => {
    throw signError("SIGNATURE_FILE_MALFORMED", `signature file ${JSON.stringify(name)}: ${what}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch {
    return refuse("not JSON");
  }
  if ((value as { mediaType?: unknown } | null)?.mediaType === SIGSTORE_BUNDLE) {
    const { subject } =
      statementOf(bytes) ?? refuse("a Sigstore bundle, but not with an in-toto statement about one digest");
    return { subject, signatures: [{ kind: "sigstore-bundle", bundle: bytes }] };
  }
  const problem = schemaProblem(detachedSchema, value);
  if (problem !== undefined) return refuse(problem);
  const file = value as {
    subject: Digest;
    sigstoreBundle: object;
    simpleSigning: { payload: string; signature: string };
  };
  return {
    subject: file.subject,
    signatures: [
      { kind: "sigstore-bundle", bundle: canonicalJson(file.sigstoreBundle) },
      {
        kind: "simple-signing",
        payload: Buffer.from(file.simpleSigning.payload, "base64"),
        signature: file.simpleSigning.signature,
      },
    ],
  };
}

/** What a Sigstore bundle says, unverified: enough to know where to attach it. Undefined if it says nothing usable. */
export function statementOf(
  bundle: Buffer,
): { readonly subject: Digest; readonly predicateType: string; readonly predicate: unknown } | undefined {
  try {
    const { dsseEnvelope } = JSON.parse(bundle.toString("utf8")) as { dsseEnvelope: { payload: string } };
    const statement = JSON.parse(Buffer.from(dsseEnvelope.payload, "base64").toString("utf8")) as {
      subject: { digest: { sha256: string } }[];
      predicateType: unknown;
      predicate?: unknown;
    };
    const subject = `sha256:${statement.subject[0]?.digest.sha256}`;
    if (!isDigest(subject) || statement.subject.length !== 1 || typeof statement.predicateType !== "string")
      return undefined;
    return { subject, predicateType: statement.predicateType, predicate: statement.predicate };
  } catch {
    return undefined;
  }
}
