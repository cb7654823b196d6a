import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import { pipeline } from "node:stream/promises";
import { type Digest, digestFromHex, parseDigest } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { keyFingerprint, keyHint } from "../../bundles/model/public-key.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { loadPublicKey } from "../../bundles/sign/key-file.ts";
import { BLOB_BUNDLE_MAX_BYTES, TRUSTED_ROOT_MAX_BYTES, verifyBlob } from "../../verify/signature/blob.ts";
import { signatureError } from "../../verify/signature/error.ts";
import { installerError } from "../error.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { type Command, optionalOption, positionals, requiredOption, usageError } from "./command.ts";

const NAME = "verify-blob";

export const verifyBlobCommand: Command = {
  name: NAME,
  summary: "verify one Sigstore bundle over one file, offline, with a key",
  usage: "--bundle SIGSTORE_JSON --key PEM [--trusted-root F] FILE|sha256:HEX",
  details: [
    "--bundle F        a Sigstore bundle with a message signature or an in-toto statement",
    "--key PEM         the public key (P-256) that must have made it",
    "--trusted-root F  a Sigstore trusted_root.json; log entries and timestamps in the bundle must then hold too",
    "FILE is read once; sha256:HEX stands for a file that is not here. Signatures by certificate",
    "(--certificate-identity) are not supported yet. Exit 0: verified. Exit 3: malformed or refused.",
  ],
  options: {
    bundle: { type: "string" },
    key: { type: "string" },
    "trusted-root": { type: "string" },
    "certificate-identity": { type: "string" },
    "certificate-oidc-issuer": { type: "string" },
  },
  run: async (invocation) => {
    const [artifact = ""] = positionals(invocation, NAME, "FILE");
    const bundlePath = requiredOption(invocation, NAME, "bundle");
    const keyPath = optionalOption(invocation, "key");
    const keyless = ["certificate-identity", "certificate-oidc-issuer"].some(
      (name) => optionalOption(invocation, name) !== undefined,
    );
    if (keyless && keyPath !== undefined) throw usageError(NAME, "give either --key or a certificate's identity");
    if (keyless) {
      throw signatureError("SIGNATURE_KEYLESS_UNSUPPORTED", "signatures by certificate are not supported yet", {
        hints: ["verify a key's signature with --key PEM"],
      });
    }
    if (keyPath === undefined) throw usageError(NAME, "--key is missing");
    const publicKey = loadPublicKey(keyPath);
    const key = {
      fingerprint: keyFingerprint(publicKey),
      hint: keyHint(publicKey),
      holder: basename(keyPath),
      publicKey,
    };
    const bundle = await readBoundedFile(bundlePath, BLOB_BUNDLE_MAX_BYTES);
    const rootPath = optionalOption(invocation, "trusted-root");
    const root = rootPath === undefined ? undefined : await readBoundedFile(rootPath, TRUSTED_ROOT_MAX_BYTES);
    const digest = parseDigest(artifact) ?? (await digestOfFile(artifact));
    const verified = verifyBlob(bundle, digest, key, root);
    const { terminal } = invocation;
    const what = verified.predicateType === null ? "" : ` (${plain(verified.predicateType)})`;
    terminal.result(`verified: ${digest}${what}, signed with key ${verified.keyFingerprint}`);
    if (verified.logEntries > 0 && !verified.logChecked) {
      terminal.result(
        `not checked: ${verified.logEntries} log entries in the bundle; give --trusted-root to check them`,
      );
    }
    terminal.document({ verified: true, artifact: digest, ...verified });
    return 0;
  },
};

async function digestOfFile(path: string): Promise<Digest> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw installerError(
      missing ? "FILE_NOT_FOUND" : "FILE_UNREADABLE",
      `${JSON.stringify(path)}: ${reasonOf(cause)}`,
      {
        cause,
        hints:
          missing && path.startsWith("sha256:") ? ["a digest is sha256: and 64 lower-case hexadecimal digits"] : [],
      },
    );
  }
  return digestFromHex(hash.digest("hex"));
}
