/** Sigstore's trusted_root.json: the certificate authorities, logs and timestamp authorities that count. */
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { duplicateMember } from "../../bundles/model/duplicate-member.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { signatureError } from "./error.ts";

const MEDIA_TYPE = /^application\/vnd\.dev\.sigstore\.trustedroot(?:\+json;version=0\.[12]|\.v0\.[12]\+json)$/;

/**
 * sigstore-js takes a log or authority without a validity as valid at any time, and anything that is not a
 * root as an empty one; both are refused here. Whose root it is, and how old, is for the caller to know.
 * @throws SIGNATURE_ROOT_MALFORMED
 */
export function parseTrustedRoot(bytes: Buffer): TrustedRoot {
  const refuse = (what: string, cause?: unknown): never => {
    throw signatureError("SIGNATURE_ROOT_MALFORMED", `trusted root: ${what}`, { cause });
  };
  let text: string;
  let root: TrustedRoot;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    root = TrustedRoot.fromJSON(JSON.parse(text));
  } catch (cause) {
    return refuse(reasonOf(cause), cause);
  }
  const twice = duplicateMember(text);
  if (twice !== undefined) refuse(`member ${JSON.stringify(twice)} is there twice`);
  if (!MEDIA_TYPE.test(root.mediaType)) refuse(`media type ${JSON.stringify(root.mediaType)} is not known`);
  const logs = [...root.tlogs, ...root.ctlogs].map((log) => log.publicKey?.validFor);
  const authorities = [...root.certificateAuthorities, ...root.timestampAuthorities].map(({ validFor }) => validFor);
  if ([...logs, ...authorities].some((period) => period?.start === undefined)) {
    refuse("a log or an authority has no start of validity");
  }
  return root;
}
