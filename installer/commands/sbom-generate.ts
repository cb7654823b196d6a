import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { digestFromHex } from "../../bundles/model/digest.ts";
import { plainJson } from "../../bundles/model/plain-text.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { engineSource } from "../../bundles/source/engine.ts";
import { layoutSource } from "../../bundles/source/oci-layout.ts";
import { registrySource } from "../../bundles/source/registry.ts";
import type { ImageSource, SourcedImage } from "../../bundles/source/source.ts";
import { sbomError } from "../../sbom/error.ts";
import { imageInLayout, type StoredImage, storedImageSbom } from "../../sbom/generate/stored-image.ts";
import { cacheDirectory, hostPlatform, sealiftVersion } from "../host/this-host.ts";
import { type Command, optionalOption, positionals, usageError } from "./command.ts";

const REGISTRY = "registry:";

export const sbomGenerate: Command = {
  name: "sbom generate",
  summary: "list what is in an image's layers, as CycloneDX",
  usage: "IMAGE|LAYOUT[#REF] [--spec 1.6|1.7] [--platform P]",
  details: [
    "LAYOUT           a bundle, an OCI layout (directory or tar) of any tool's making, or a `docker save` tar",
    "#REF             the image's name in it, or its manifest's digest; not needed if there is one",
    "IMAGE            the name of an image of the local engine, or registry:HOST/REPOSITORY[:TAG|@DIGEST]",
    "--spec V         CycloneDX version: 1.6 (default) or 1.7",
    "--platform P     of several: linux/amd64 or linux/arm64; this machine's if absent",
    "Lists packages of dpkg, apk, rpm, npm, Python, Maven and Go, and Node.js. An image without any is an error.",
    "The SBOM is about the manifest that Sealift would carry: the image's own, unless that names Docker's",
    "media types in a tar, a registry or an engine; then the same image with the OCI names.",
  ],
  options: { spec: { type: "string" }, platform: { type: "string" } },
  run: async (invocation) => {
    const [argument = ""] = positionals(invocation, "sbom generate", "IMAGE|LAYOUT[#REF]");
    const { terminal } = invocation;
    const specVersion = optionalOption(invocation, "spec") ?? "1.6";
    if (specVersion !== "1.6" && specVersion !== "1.7") {
      throw usageError("sbom generate", `--spec: got ${JSON.stringify(specVersion)}, want 1.6 or 1.7`);
    }
    const platform = optionalOption(invocation, "platform") ?? hostPlatform();
    const progress = terminal.progress("reading layers");
    const bytes = await withImage(argument, platform, progress.update, (image, fallbackName) =>
      storedImageSbom(image, {
        toolVersion: sealiftVersion(),
        specVersion,
        fallbackName,
        fallbackTime: new Date().toISOString(),
        onLayer: (number, count) => progress.update(`${number} of ${count}`),
      }),
    );
    progress.done();
    const document: unknown = JSON.parse(bytes.toString("utf8"));
    terminal.document(document);
    terminal.result(plainJson(document, 0));
    return 0;
  },
};

/** The image that IMAGE or LAYOUT[#REF] names, for as long as `use` runs. */
export async function withImage<T>(
  argument: string,
  platform: string,
  onProgress: (detail: string) => void,
  use: (image: StoredImage, fallbackName: string) => Promise<T>,
): Promise<T> {
  const sourced = async (source: ImageSource, name: string): Promise<T> =>
    use(await imageOf(source, name, platform, onProgress), name);
  if (argument.startsWith(REGISTRY)) {
    const reference = argument.slice(REGISTRY.length);
    return sourced(registrySource(reference), reference);
  }
  const { path, ref } = splitArgument(argument);
  if (!existsSync(path)) {
    if (/^[./]/.test(path)) {
      throw sbomError("SBOM_IMAGE_NOT_FOUND", `${JSON.stringify(path)} is no file or directory`);
    }
    return sourced(engineSource(argument), argument);
  }
  let opened: ReturnType<typeof openLayout>;
  try {
    opened = openLayout(path);
  } catch (cause) {
    if (!(cause instanceof SealiftError) || !NOT_OURS.has(cause.code)) throw cause;
    return sourced(layoutSource(argument), ref ?? basename(path));
  }
  try {
    return await use(imageInLayout(opened.layout, ref), basename(path));
  } finally {
    closeStore(opened.store);
  }
}

/** What `openLayout` says of a layout that other tools made and that the source for those may read. */
const NOT_OURS: ReadonlySet<string> = new Set([
  "LAYOUT_TAR_NOT_CANONICAL",
  "LAYOUT_FOREIGN_FILE",
  "LAYOUT_DUPLICATE_FILE",
]);

/** A path may have a "#" itself: then the whole argument is the path, if it exists. */
function splitArgument(argument: string): { readonly path: string; readonly ref: string | undefined } {
  const hash = argument.lastIndexOf("#");
  if (hash < 0 || existsSync(argument)) return { path: argument, ref: undefined };
  return { path: argument.slice(0, hash), ref: argument.slice(hash + 1) };
}

async function imageOf(
  source: ImageSource,
  name: string,
  platform: string,
  onProgress: (detail: string) => void,
): Promise<StoredImage> {
  const context = {
    root: process.cwd(),
    platform,
    cacheDir: cacheDirectory(),
    created: new Date().toISOString(),
    ignoreBuiltLayers: false,
    onProgress,
  };
  const { manifest, config, layers } = await source.load(await source.lock(context), context);
  return {
    name,
    manifest,
    config,
    layers: layers.map((layer) => ({ descriptor: layer.descriptor, open: () => verified(layer) })),
    created: undefined,
  };
}

/** A source's blobs are checked by whoever writes them; here nobody does. */
async function* verified({ descriptor, blob }: SourcedImage["layers"][number]): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  for await (const chunk of blob.open()) {
    hash.update(chunk);
    yield chunk;
  }
  const got = digestFromHex(hash.digest("hex"));
  if (got !== descriptor.digest) {
    throw sbomError("SBOM_LAYER_MALFORMED", `layer ${descriptor.digest} on source: got ${got}`);
  }
}
