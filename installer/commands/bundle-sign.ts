import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { isSignatureEntry, readSignatureObject } from "../../bundles/layout/signature-object.ts";
import { parseDigest } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { ROLES, type Role } from "../../bundles/model/signing-roles.ts";
import { mergeSignatures, SIGNED_AGAIN, signsAgain, writeSignatures } from "../../bundles/sign/attach.ts";
import {
  releaseStatement,
  requireOwnBuild,
  signDigest,
  signRelease,
  signReleaseKeyless,
} from "../../bundles/sign/sign-release.ts";
import { ownBuilder } from "../host/own-source.ts";
import { writeNew } from "../host/write-new.ts";
import { type Command, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import { KEYLESS_DETAILS, KEYLESS_OPTIONS, type KeylessSigner, readKeylessSigner } from "./keyless-options.ts";
import { readSigningKey, SIGNING_KEY_DETAILS, SIGNING_KEY_OPTIONS } from "./signing-key-options.ts";

const NAME = "bundle sign";

export const bundleSign: Command = {
  name: NAME,
  summary: "add a role's signatures to a bundle, or sign a release's digest on the key's own machine",
  usage:
    "BUNDLE --role builder|security|release (--key K | --signer COMMAND --public-key PUB | --identity-token FILE …)   or   --digest sha256:… --key K --out FILE",
  details: [
    "--role R              builder signs images, SBOMs, provenance and the release; the others the release",
    "                      The builder says from what this Sealift made it, so sign with the one that built, where it built",
    ...SIGNING_KEY_DETAILS,
    ...KEYLESS_DETAILS,
    "--digest D --out FILE sign this release digest without the bundle; `sealift bundle attach` takes FILE in",
  ],
  options: {
    role: { type: "string" },
    ...SIGNING_KEY_OPTIONS,
    ...KEYLESS_OPTIONS,
    digest: { type: "string" },
    out: { type: "string" },
  },
  run: async (invocation) => {
    const { terminal } = invocation;
    const digestText = optionalOption(invocation, "digest");
    const roleText = optionalOption(invocation, "role");
    const role = ROLES.find((known) => known === roleText);
    if (roleText !== undefined && role === undefined)
      throw usageError(NAME, `--role: got ${JSON.stringify(roleText)}, want one of ${ROLES.join(", ")}`);
    if (digestText !== undefined) {
      positionals(invocation, NAME);
      const digest = parseDigest(digestText);
      if (!digest)
        throw usageError(NAME, `--digest: got ${JSON.stringify(digestText)}, want sha256: and 64 hexadecimal digits`);
      if (role === "builder") {
        terminal.note(
          "note: this signs the release only; a builder's signatures over images and SBOMs need the bundle",
        );
      }
      const out = requiredOption(invocation, NAME, "out");
      const keyless = await readKeylessSigner(invocation, NAME);
      const signature = keyless
        ? await signWithCertificate(keyless, releaseStatement(digest))
        : signDigest(await readSigningKey(invocation, NAME), digest);
      await writeNew(out, signature);
      terminal.result(`signed ${digest} into ${plain(out)}`);
      terminal.result(`Next, where the bundle is: sealift bundle attach BUNDLE ${plain(out)}`);
      terminal.document({ digest, out });
      return 0;
    }
    const [path = ""] = positionals(invocation, NAME, "BUNDLE");
    if (role === undefined) throw usageError(NAME, "--role is missing");
    const keyless = await readKeylessSigner(invocation, NAME);
    const key = keyless ? undefined : await readSigningKey(invocation, NAME);
    const { layout, store } = openLayout(path);
    try {
      const index = readLayoutIndex(layout);
      const release = readRelease(layout, index.release);
      const present = index.others.filter(isSignatureEntry).map((entry) => readSignatureObject(layout, entry));
      const builder = ownBuilder();
      if (role === "builder") requireOwnBuild(layout, release, builder);
      const progress = terminal.progress("signing");
      const added = key
        ? signRelease(layout, release, role satisfies Role, key, builder)
        : await signReleaseKeyless(
            layout,
            release,
            role,
            (statement) => signWithCertificate(keyless as KeylessSigner, statement),
            builder,
          );
      if (signsAgain(release, present, added)) terminal.note(SIGNED_AGAIN);
      await writeSignatures(layout, release, mergeSignatures(layout, present, added));
      progress.done(`${added.length} signature objects`);
      terminal.result(`${role} signed release ${release.descriptor.digest}`);
      terminal.document({ digest: release.descriptor.digest, role, added: added.length });
      return 0;
    } finally {
      closeStore(store);
    }
  },
};

/** Loaded only where it is used: it brings the formats of Sigstore's services. */
async function signWithCertificate({ token, services }: KeylessSigner, statement: Buffer): Promise<Buffer> {
  const { signStatementKeyless } = await import("../../bundles/sign/keyless.ts");
  return signStatementKeyless(statement, token, services);
}
