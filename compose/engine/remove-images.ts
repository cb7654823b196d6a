/** Takes images of a release out of the engine: their protective tags and their names by digest. */
import type { Digest } from "../../bundles/model/digest.ts";
import { imageReference } from "../image-reference.ts";
import { connect, connectionError, type Engine } from "./engine.ts";
import { protectiveTag } from "./load-images.ts";

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
