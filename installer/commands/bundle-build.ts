import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { readApplianceDirectory } from "../../bundles/assemble/appliance-directory.ts";
import { assemble } from "../../bundles/assemble/assemble.ts";
import { groupBlobs, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { isSignatureEntry } from "../../bundles/layout/signature-object.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { fileExists } from "../../bundles/model/file-exists.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { INVENTORY_MAX_BYTES, parseInventory } from "../../bundles/transfer/inventory.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { cacheDirectory, hostPlatform, sealiftVersion } from "../host/this-host.ts";
import { megabytes } from "./bundle-split.ts";
import {
  type Command,
  type Invocation,
  optionalOption,
  positionals,
  repeatedOption,
  requiredOption,
} from "./command.ts";

export const bundleBuild: Command = {
  name: "bundle build",
  summary: "assemble one offline bundle from an appliance file and its lock",
  usage: "--appliance FILE --version X.Y.Z --out FILE [--platform P] [--base BUNDLE]… [--inventory FILE]",
  details: [
    "--appliance FILE   what to carry: images, files, Compose file (schema: `sealift schema appliance`)",
    "--version X.Y.Z    the release's version (semver)",
    "--out FILE         the bundle, one tar; written under FILE.partial until it is complete; replaces an unsigned bundle only",
    "--platform P       linux/amd64 or linux/arm64; this machine's if absent",
    "--base BUNDLE      leave out the layers and files of this release, which the site has; may be given several times",
    "--inventory FILE   leave out what `sealift inventory` wrote there that it has",
    "A bundle that leaves something out is thin: the same release, with the same digest and signatures. Only a machine",
    "that has the rest can verify or install it: a site has it in its store, a reviewer names it with `verify --base`.",
  ],
  options: {
    appliance: { type: "string" },
    version: { type: "string" },
    out: { type: "string" },
    platform: { type: "string" },
    base: { type: "string", multiple: true },
    inventory: { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, "bundle build");
    const { terminal } = invocation;
    const directory = await readApplianceDirectory(requiredOption(invocation, "bundle build", "appliance"));
    const out = resolve(requiredOption(invocation, "bundle build", "out"));
    requireReplaceable(out);
    const leaveOut = await siteHas(invocation);
    const progress = terminal.progress("building");
    const { digest, release, payloadBytes, leftOut } = await assemble({
      directory,
      version: requiredOption(invocation, "bundle build", "version"),
      platform: optionalOption(invocation, "platform") ?? hostPlatform(),
      out,
      cacheDir: cacheDirectory(),
      sealiftVersion: sealiftVersion(),
      ignoreBuiltLayers: false,
      leaveOut,
      onProgress: progress.update,
    });
    progress.done(`${out}, ${Math.round(payloadBytes / 1e6)} MB of layers and files`);
    terminal.result(`release  ${digest}`);
    terminal.result(
      `         ${release.appliance} ${release.version}, ${release.platform}, ${release.images.length} images`,
    );
    if (leftOut.blobs > 0) {
      const size = `${megabytes(leftOut.bytes)} MB`;
      terminal.result(
        `         thin: ${leftOut.blobs} layers and files, ${size}, are left out, which the site must have`,
      );
    }
    terminal.result("It is not signed. Next: sealift bundle sign BUNDLE --role builder --key KEY");
    terminal.document({
      digest,
      appliance: release.appliance,
      version: release.version,
      platform: release.platform,
      bundle: out,
      payloadBytes,
      leftOut,
    });
    return 0;
  },
};

/** Signatures may have been made on machines that are far away. @throws FILE_EXISTS */
function requireReplaceable(out: string): void {
  if (!existsSync(out) || isUnsignedBundle(out)) return;
  throw fileExists(out, "what is there is no unsigned bundle, and only that is replaced");
}

function isUnsignedBundle(path: string): boolean {
  try {
    const { layout, store } = openLayout(path);
    try {
      return !readLayoutIndex(layout).others.some(isSignatureEntry);
    } finally {
      closeStore(store);
    }
  } catch (cause) {
    if (cause instanceof SealiftError) return false;
    throw cause;
  }
}

/** What `--base` and `--inventory` say that the site has. Nothing is verified: at the site it is. */
async function siteHas(invocation: Invocation): Promise<Set<Digest>> {
  const path = optionalOption(invocation, "inventory");
  const has =
    path === undefined ? new Set<Digest>() : parseInventory(await readBoundedFile(path, INVENTORY_MAX_BYTES), path);
  for (const base of repeatedOption(invocation, "base")) {
    const { layout, store } = openLayout(base);
    try {
      const release = readRelease(layout, readLayoutIndex(layout).release);
      for (const digest of groupBlobs(release, []).payload) has.add(digest);
    } finally {
      closeStore(store);
    }
  }
  return has;
}
