/** What `sbom scan`, `sbom diff` and their like read: the SBOMs of a bundle, or one in a file. */
import { existsSync, statSync } from "node:fs";
import { basename } from "node:path";
import { DOCUMENT_MAX_BYTES, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, type Layout, openLayout } from "../../bundles/layout/layout.ts";
import { SBOM_MAX_BYTES } from "../../sbom/document.ts";
import { sbomError } from "../../sbom/error.ts";
import type { ScanInput } from "../../sbom/scan/scan.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { usageError } from "./command.ts";

/** The SBOMs of a bundle's images, or the one in a file. Their digests are checked, no signature. */
export async function readSbomInputs(verb: string, path: string, image: string | undefined): Promise<ScanInput[]> {
  return withSbomInputs(verb, path, image, async (inputs) => inputs);
}

/** `readSbomInputs` for as long as `use` runs, which may read more of the bundle; of an SBOM in a file there is none. */
export async function withSbomInputs<T>(
  verb: string,
  path: string,
  image: string | undefined,
  use: (inputs: ScanInput[], bundle: Layout | undefined) => Promise<T>,
): Promise<T> {
  if (!isBundle(path)) {
    if (image !== undefined) throw usageError(verb, "--image is for a bundle");
    const sbom = await readBoundedFile(path, SBOM_MAX_BYTES);
    return use([{ name: basename(path), digest: undefined, sbom }], undefined);
  }
  const { layout, store } = openLayout(path);
  try {
    return await use(sbomsInLayout(layout, image), layout);
  } finally {
    closeStore(store);
  }
}

/** Of the release in `layout`, or of its image `image` alone: what `scanSboms` and a `DiffSide` are made of. */
export function sbomsInLayout(layout: Layout, image?: string): ScanInput[] {
  const { manifest } = readRelease(layout, readLayoutIndex(layout).release);
  const images = manifest.images.filter(({ name }) => image === undefined || name === image);
  if (images.length === 0) {
    throw sbomError(
      "SBOM_IMAGE_NOT_FOUND",
      `bundle ${JSON.stringify(layout.location)} has no image ${JSON.stringify(image)}`,
      {
        hints: [`it has: ${manifest.images.map(({ name }) => name).join(", ")}`],
      },
    );
  }
  return images.map(({ name, digest, sbom }) => ({ name, digest, sbom: layout.read(sbom, DOCUMENT_MAX_BYTES) }));
}

/** An SBOM is a JSON file; a bundle is a tar or a directory. */
function isBundle(path: string): boolean {
  return existsSync(path) && (statSync(path).isDirectory() || !/\.json$/i.test(path));
}
