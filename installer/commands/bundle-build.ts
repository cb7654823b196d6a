import { resolve } from "node:path";
import { readApplianceDirectory } from "../../bundles/assemble/appliance-directory.ts";
import { assemble } from "../../bundles/assemble/assemble.ts";
import { cacheDirectory, hostPlatform, sealiftVersion } from "../host/this-host.ts";
import { type Command, optionalOption, positionals, requiredOption } from "./command.ts";

export const bundleBuild: Command = {
  name: "bundle build",
  summary: "assemble one offline bundle from an appliance file and its lock",
  usage: "--appliance FILE --version X.Y.Z --out FILE [--platform P]",
  details: [
    "--appliance FILE   what to carry: images, files, Compose file (schema: `sealift schema appliance`)",
    "--version X.Y.Z    the release's version (semver)",
    "--out FILE         the bundle, one tar; written under FILE.partial until it is complete",
    "--platform P       linux/amd64 or linux/arm64; this machine's if absent",
  ],
  options: {
    appliance: { type: "string" },
    version: { type: "string" },
    out: { type: "string" },
    platform: { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, "bundle build");
    const { terminal } = invocation;
    const directory = await readApplianceDirectory(requiredOption(invocation, "bundle build", "appliance"));
    const out = resolve(requiredOption(invocation, "bundle build", "out"));
    const progress = terminal.progress("building");
    const { digest, release, payloadBytes } = await assemble({
      directory,
      version: requiredOption(invocation, "bundle build", "version"),
      platform: optionalOption(invocation, "platform") ?? hostPlatform(),
      out,
      cacheDir: cacheDirectory(),
      sealiftVersion: sealiftVersion(),
      ignoreBuiltLayers: false,
      onProgress: progress.update,
    });
    progress.done(`${out}, ${Math.round(payloadBytes / 1e6)} MB of layers and files`);
    terminal.result(`release  ${digest}`);
    terminal.result(
      `         ${release.appliance} ${release.version}, ${release.platform}, ${release.images.length} images`,
    );
    terminal.result("It is not signed. Next: sealift bundle sign BUNDLE --role builder --key KEY");
    terminal.document({
      digest,
      appliance: release.appliance,
      version: release.version,
      platform: release.platform,
      bundle: out,
      payloadBytes,
    });
    return 0;
  },
};
