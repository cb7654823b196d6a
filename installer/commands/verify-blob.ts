import type { CertificateIdentity } from "../../bundles/model/certificate-identity.ts";
import { digestFromHex, parseDigest } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { keyNames } from "../../bundles/model/public-key.ts";
import { loadPublicKey } from "../../bundles/sign/public-key-file.ts";
import { signatureError } from "../../verify/signature/error.ts";
import {
  type Artifact,
  BLOB_BUNDLE_MAX_BYTES,
  digestOfArtifact,
  isKeyMessage,
  type VerifiedBlob,
  verifyMessage,
} from "../../verify/signature/message.ts";
import { plainKeyBundle } from "../../verify/signature/plain-bundle.ts";
import type { VerifiedKeylessBlob } from "../../verify/signature/witnessed-blob.ts";
import type { TrustKey } from "../../verify/trust/trust.ts";
import { readBoundedFile, readInChunks } from "../host/read-file.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";

// Not imported: that would evaluate every member of the modules.
const { createHash } = process.getBuiltinModule("node:crypto");
const { basename } = process.getBuiltinModule("node:path");

const NAME = "verify-blob";
const TRUSTED_ROOT_MAX_BYTES = 4 * 1024 * 1024;
/** Up to here a file is kept in memory, since its bytes are verified faster than its digest. */
const KEPT_MAX_BYTES = 4 * 1024 * 1024;

export const verifyBlobCommand: Command = {
  name: NAME,
  summary: "verify one Sigstore bundle over one file, offline, with a key or by a certificate's identity",
  usage:
    "--bundle SIGSTORE_JSON (--key PEM | --certificate-identity I --certificate-oidc-issuer U) [--trusted-root F] [--predicate-type T] FILE|sha256:HEX",
  details: [
    "--bundle F                   a Sigstore bundle with a message signature or an in-toto statement",
    "--key PEM                    the public key (P-256) that must have made it",
    "--certificate-identity I     the e-mail address or URI that must stand in the signing certificate, exactly",
    "--certificate-oidc-issuer U  the issuer that must have vouched for it, exactly",
    "--trusted-root F             a Sigstore trusted_root.json: the authorities and logs that count. With a key,",
    "                             log entries and timestamps that are in the bundle must then hold too",
    "--predicate-type T           accept only an in-toto statement of this type; `message`: only a plain signature",
    "FILE is read once; sha256:HEX stands for a file that is not here. Nothing is fetched.",
    "A statement is verified as signed and as being about FILE; what it says is not judged.",
    "Exit 0: verified. Exit 3: malformed or refused.",
  ],
  options: {
    bundle: { type: "string" },
    key: { type: "string" },
    "trusted-root": { type: "string" },
    "certificate-identity": { type: "string" },
    "certificate-oidc-issuer": { type: "string" },
    "predicate-type": { type: "string" },
  },
  run: async (invocation) => {
    const [artifact = ""] = positionals(invocation, NAME, "FILE");
    const bundlePath = requiredOption(invocation, NAME, "bundle");
    const signer = readSigner(invocation);
    const rootPath = optionalOption(invocation, "trusted-root");
    if ("identity" in signer && rootPath === undefined) {
      throw usageError(NAME, "--trusted-root is missing; a certificate counts only by the authorities in it");
    }
    const bundle = await readBoundedFile(bundlePath, BLOB_BUNDLE_MAX_BYTES);
    const root = rootPath === undefined ? undefined : await readBoundedFile(rootPath, TRUSTED_ROOT_MAX_BYTES);
    const blob = parseDigest(artifact) ?? readArtifact(artifact);
    const verified = await verifyAs(signer, bundle, blob, root);
    const digest = digestOfArtifact(blob);
    requirePredicateType(optionalOption(invocation, "predicate-type"), verified.predicateType);
    const { terminal } = invocation;
    const what = verified.predicateType === null ? "" : ` (${plain(verified.predicateType)})`;
    terminal.result(`verified: ${digest}${what}, ${signedBy(verified)}`);
    if (verified.logEntries > 0 && !verified.logChecked) {
      terminal.result(
        `not checked: ${verified.logEntries} log entries in the bundle; give --trusted-root to check them`,
      );
    }
    terminal.document({ verified: true, artifact: digest, ...verified });
    return 0;
  },
};

async function verifyAs(
  signer: TrustKey | CertificateIdentity,
  bundle: Buffer,
  artifact: Artifact,
  root: Buffer | undefined,
): Promise<VerifiedBlob | VerifiedKeylessBlob> {
  if ("publicKey" in signer && root === undefined) {
    return verifyByKey(bundle, artifact, signer);
  }
  // Brings all of Sigstore's formats.
  const { verifyKeylessBlob, verifyWitnessedBlob } = await import("../../verify/signature/witnessed-blob.ts");
  if ("publicKey" in signer) return verifyWitnessedBlob(bundle, artifact, signer, root as Buffer);
  return verifyKeylessBlob(bundle, digestOfArtifact(artifact), signer, root as Buffer);
}

/** Loads no more than this bundle asks for. */
async function verifyByKey(json: Buffer, artifact: Artifact, key: TrustKey): Promise<VerifiedBlob> {
  const plainBundle = plainKeyBundle(json);
  if (plainBundle && isKeyMessage(plainBundle) && typeof artifact !== "string") {
    return verifyMessage(plainBundle, artifact, key);
  }
  const { verifyKeyBlob } = await import("../../verify/signature/blob.ts");
  if (plainBundle) return verifyKeyBlob(plainBundle, artifact, key);
  const { parseKeyBundle } = await import("../../verify/signature/sigstore-bundle.ts");
  return verifyKeyBlob(parseKeyBundle(json), artifact, key);
}

function readSigner(invocation: Invocation): TrustKey | CertificateIdentity {
  const keyPath = optionalOption(invocation, "key");
  const identity = optionalOption(invocation, "certificate-identity");
  const issuer = optionalOption(invocation, "certificate-oidc-issuer");
  if (keyPath !== undefined) {
    if (identity !== undefined || issuer !== undefined) {
      throw usageError(NAME, "give either --key or a certificate's identity");
    }
    const publicKey = loadPublicKey(keyPath);
    const holder = basename(keyPath);
    return { ...keyNames(publicKey), holder, publicKey };
  }
  if (identity === undefined && issuer === undefined) {
    throw usageError(NAME, "--key is missing, or --certificate-identity and --certificate-oidc-issuer");
  }
  // Half of it would accept anybody whom the issuer knows, or whoever else calls himself so.
  if (!identity) throw usageError(NAME, "--certificate-identity is missing");
  if (!issuer) throw usageError(NAME, "--certificate-oidc-issuer is missing");
  return { identity, issuer };
}

/** @throws SIGNATURE_STATEMENT_REFUSED if it is another, or if there is one where a plain signature is wanted */
function requirePredicateType(want: string | undefined, got: string | null): void {
  if (want === undefined || want === (got ?? "message")) return;
  throw signatureError(
    "SIGNATURE_STATEMENT_REFUSED",
    `Sigstore bundle: got ${got === null ? "a plain signature" : JSON.stringify(got)}, want ${JSON.stringify(want)}`,
  );
}

function signedBy(verified: VerifiedBlob | VerifiedKeylessBlob): string {
  if ("keyFingerprint" in verified) return `signed with key ${verified.keyFingerprint}`;
  const { certificate, times } = verified;
  const when = times.map(({ source, at }) => `${at} (${source})`).join(", ");
  return `signed by ${plain(certificate.identity)} of ${plain(certificate.issuer)} at ${when}`;
}

/** The bytes of a small file too; each is read once. */
function readArtifact(path: string): Artifact {
  const hash = createHash("sha256");
  const kept: Buffer[] = [];
  let size = 0;
  readInChunks(path, (chunk) => {
    hash.update(chunk);
    size += chunk.length;
    if (size <= KEPT_MAX_BYTES) kept.push(Buffer.from(chunk));
  });
  const digest = digestFromHex(hash.digest("hex"));
  if (size > KEPT_MAX_BYTES) return digest;
  const [only = Buffer.alloc(0), ...others] = kept;
  return { digest, bytes: others.length === 0 ? only : Buffer.concat(kept) };
}
