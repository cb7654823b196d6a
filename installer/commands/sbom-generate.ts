import { existsSync } from "node:fs";
import { basename } from "node:path";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { sbomError } from "../../sbom/error.ts";
import { findImage, layoutImageSbom } from "../../sbom/generate/layout-image.ts";
import { sealiftVersion } from "../host/this-host.ts";
import { type Command, optionalOption, positionals, usageError } from "./command.ts";

export const sbomGenerate: Command = {
  name: "sbom generate",
  summary: "list what is in an image's layers, as CycloneDX",
  usage: "LAYOUT[#REF] [--spec 1.6|1.7]",
  details: [
    "LAYOUT           a bundle, or an OCI layout directory of any tool's making",
    "#REF             the image's name in it, or its manifest's digest; not needed if there is one",
    "--spec V         CycloneDX version: 1.6 (default) or 1.7",
    "Lists Debian packages (dpkg) and npm packages. An image without any is an error, not an empty list.",
  ],
  options: { spec: { type: "string" } },
  run: async (invocation) => {
    const [argument = ""] = positionals(invocation, "sbom generate", "LAYOUT[#REF]");
    const { terminal } = invocation;
    const specVersion = optionalOption(invocation, "spec") ?? "1.6";
    if (specVersion !== "1.6" && specVersion !== "1.7") {
      throw usageError("sbom generate", `--spec: got ${JSON.stringify(specVersion)}, want 1.6 or 1.7`);
    }
    const { path, ref } = splitArgument(argument);
    const { layout, store } = open(path);
    const progress = terminal.progress("reading layers");
    try {
      const bytes = await layoutImageSbom(layout, findImage(layout, ref), {
        toolVersion: sealiftVersion(),
        specVersion,
        fallbackName: basename(path),
        fallbackTime: new Date().toISOString(),
        onLayer: (number, count) => progress.update(`${number} of ${count}`),
      });
      progress.done();
      const text = bytes.toString("utf8");
      terminal.document(JSON.parse(text));
      terminal.result(text);
      return 0;
    } finally {
      closeStore(store);
    }
  },
};

/** A path may have a "#" itself: then the whole argument is the path, if it exists. */
function splitArgument(argument: string): { readonly path: string; readonly ref: string | undefined } {
  const hash = argument.lastIndexOf("#");
  if (hash < 0 || existsSync(argument)) return { path: argument, ref: undefined };
  return { path: argument.slice(0, hash), ref: argument.slice(hash + 1) };
}

function open(path: string): ReturnType<typeof openLayout> {
  if (!existsSync(path)) {
    throw sbomError("SBOM_SOURCE_UNSUPPORTED", `${JSON.stringify(path)} is no file or directory`, {
      hints: [
        "images of an engine or a registry are not read directly yet; copy one into a directory first:",
        "skopeo copy docker://REGISTRY/NAME:TAG oci:DIRECTORY:NAME",
      ],
    });
  }
  try {
    return openLayout(path);
  } catch (cause) {
    if (!(cause instanceof SealiftError) || cause.code !== "LAYOUT_TAR_NOT_CANONICAL") throw cause;
    throw sbomError(
      "SBOM_SOURCE_UNSUPPORTED",
      `${JSON.stringify(path)} is no tar that Sealift wrote: ${cause.message}`,
      {
        cause,
        hints: [`unpack it and give the directory: mkdir layout && tar -xf ${path} -C layout`],
      },
    );
  }
}
