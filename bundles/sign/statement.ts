/**
 * In-toto statements (v1) signed in DSSE, as Sigstore bundles v0.3 with a key hint and no log entry:
 * the form that cosign 2 and 3 and sigstore-js all verify offline with a key.
 */
import { dsse } from "@sigstore/core";
import { renderKeyBundle } from "../layout/signature-object.ts";
import { canonicalJson } from "../model/canonical-json.ts";
import { type Digest, hexOf } from "../model/digest.ts";
import { IN_TOTO_PAYLOAD, IN_TOTO_STATEMENT } from "../model/media-types.ts";
import { keyHint } from "../model/public-key.ts";
import { hintedKey, type SigningKey, signBytes } from "./signing-key.ts";

/** The canonical bytes of a statement about one digest. */
export function statementFor(subject: Digest, predicateType: string, predicate: unknown): Buffer {
  return canonicalJson({
    _type: IN_TOTO_STATEMENT,
    subject: [{ digest: { sha256: hexOf(subject) } }],
    predicateType,
    predicate,
  });
}

/** The Sigstore bundle, canonical JSON, of `statement` signed with `key`. Signatures differ from call to call. */
export function signStatement(key: SigningKey, statement: Buffer): Buffer {
  const signature = signBytes(key, dsse.preAuthEncoding(IN_TOTO_PAYLOAD, statement));
  return renderKeyBundle({ payload: statement, signature, hint: keyHint(hintedKey(key)) });
}
