/** Takes images of a release out of the engine: their protective tags and their names by digest. */
import { type Digest, isDigest } from "../../bundles/model/digest.ts";
import { imageReference, partsOfReference } from "../image-reference.ts";
import { connect, connectionError, type Engine } from "./engine.ts";
import { protectiveTag } from "./load-images.ts";
import { SITE_LABEL } from "./project.ts";

export interface NamedImage {
  readonly appliance: string;
  readonly name: string;
  readonly digest: Digest;
}

/** As an engine answers for an image that is not there, and for one that a container uses. */
const NOT_FOUND = 404;
const CONFLICT = 409;

/**
 * An image that is not there is no error; one that a container still uses stays, and is returned.
 * Layers that other images share stay with them. @throws ENGINE_UNREACHABLE | ENGINE_PERMISSION | ENGINE_CALL_FAILED
 */
export async function removeImages(
  engine: Pick<Engine, "socketPath">,
  images: readonly NamedImage[],
): Promise<NamedImage[]> {
  const docker = await connect(engine);
  const used: NamedImage[] = [];
  for (const image of images) {
    const { repo, tag } = protectiveTag(image.appliance, image.name, image.digest);
    for (const name of [`${repo}:${tag}`, imageReference(image.appliance, `${image.name}@${image.digest}`)]) {
      try {
        await docker.getImage(name).remove();
      } catch (cause) {
        const { statusCode } = cause as { readonly statusCode?: number };
        if (statusCode === CONFLICT) used.push(image);
        else if (statusCode !== NOT_FOUND) throw connectionError(engine.socketPath, cause);
      }
    }
  }
  return used;
}

/**
 * Images of `appliance`, or of any if that is null, that the engine has, that are not in `kept` and that no container
 * uses: what a change loaded that was taken back. None if a container of another site is there, which may return to any of them.
 * @throws ENGINE_UNREACHABLE | ENGINE_PERMISSION | ENGINE_CALL_FAILED
 */
export async function leftImages(
  engine: Pick<Engine, "socketPath">,
  siteId: string,
  appliance: string | null,
  kept: readonly NamedImage[],
): Promise<NamedImage[]> {
  try {
    const docker = await connect(engine);
    const containers = await docker.listContainers({ all: true });
    if (containers.some(({ Labels }) => (Labels[SITE_LABEL] ?? siteId) !== siteId)) return [];
    const used = new Set(containers.flatMap(({ Image, ImageID }) => [Image, ImageID]));
    const keep = new Set(kept.map((one) => imageReference(one.appliance, `${one.name}@${one.digest}`)));
    const found = (await docker.listImages({ digests: true })).filter(({ Id }) => !used.has(Id));
    return found
      .flatMap(({ RepoDigests }) => RepoDigests ?? [])
      .filter((reference) => !keep.has(reference) && !used.has(reference))
      .flatMap(namedIn)
      .filter((image) => appliance === null || image.appliance === appliance);
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

function namedIn(reference: string): NamedImage[] {
  const [appliance = "", pinned = ""] = partsOfReference(reference) ?? [];
  const [name = "", digest] = pinned.split("@");
  return isDigest(digest) ? [{ appliance, name, digest }] : [];
}
