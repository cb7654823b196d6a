/** The `registry` source: an image pulled by digest; a tag counts only while the lock is written. */

import type { ImageLock } from "../model/appliance.ts";
import { hexOf } from "../model/digest.ts";
import { CONFIG_MAX_BYTES, parseIndex } from "../model/oci.ts";
import { sourceError } from "./error.ts";
import { carriedImage, checkConfig, choosePlatform, isIndexType } from "./foreign-image.ts";
import { type ClientOptions, type FetchedManifest, RegistryClient } from "./registry-client.ts";
import { dockerConfigPath, readLogin } from "./registry-credentials.ts";
import { parseReference } from "./registry-reference.ts";
import type { ImageSource, SourceContext, SourcedImage } from "./source.ts";

/** SLSA buildType of images carried from a registry. */
export const REGISTRY_BUILD_TYPE = "https://sealift.dev/buildtypes/registry/v1";
const NESTED_MAX = 3;

export interface RegistryOptions extends Omit<ClientOptions, "login"> {
  /** Docker's config.json with the login; where Docker keeps it if absent. */
  readonly dockerConfig?: string;
}

/**
 * `reference` is what registry-reference.ts reads. The lock names the image manifest of the one platform
 * as the registry has it, so `load` never asks for a tag or an index again.
 * @throws SOURCE_REFERENCE_MALFORMED
 */
export function registrySource(reference: string, options: RegistryOptions = {}): ImageSource {
  const parsed = parseReference(reference);
  const connect = async (): Promise<RegistryClient> => {
    const login = await readLogin(parsed.registry, options.dockerConfig ?? dockerConfigPath());
    return new RegistryClient(parsed, { ...options, login });
  };
  return {
    lock: async (context) => {
      const client = await connect();
      const fetched = await resolvePlatform(client, parsed.digest ?? parsed.tag ?? "latest", context.platform);
      await sourced(client, fetched, parsed.text, context);
      return { kind: "registry", reference: parsed.text, digest: fetched.digest };
    },
    load: async (lock: ImageLock, context) => {
      if (lock.kind !== "registry" || lock.reference !== parsed.text) {
        const got = lock.kind === "registry" ? lock.reference : `kind ${lock.kind}`;
        throw sourceError("SOURCE_LOCK_STALE", `lock of image ${JSON.stringify(parsed.text)}: got ${got}`, {
          hints: ["sealift bundle lock --appliance FILE"],
        });
      }
      const client = await connect();
      return sourced(client, await client.manifest(lock.digest), parsed.text, context);
    },
  };
}

async function resolvePlatform(client: RegistryClient, name: string, platform: string): Promise<FetchedManifest> {
  let fetched = await client.manifest(name);
  for (let depth = 0; isIndex(fetched); depth += 1) {
    const what = `image index ${fetched.digest}`;
    if (depth === NESTED_MAX) throw sourceError("SOURCE_UNSUPPORTED", `${what}: it leads to no image manifest`);
    const entry = choosePlatform(parseIndex(fetched.bytes), platform, what);
    fetched = await client.manifest(entry.digest);
    if (fetched.bytes.length !== entry.size) {
      throw sourceError(
        "SOURCE_DIGEST_MISMATCH",
        `manifest ${entry.digest}: got ${fetched.bytes.length} bytes, want ${entry.size}`,
      );
    }
  }
  return fetched;
}

/** What the bytes say they are; the Content-Type header only where they say nothing. */
function isIndex(fetched: FetchedManifest): boolean {
  try {
    const value = JSON.parse(fetched.bytes.toString("utf8")) as { mediaType?: unknown };
    return isIndexType(typeof value.mediaType === "string" ? value.mediaType : fetched.mediaType);
  } catch {
    return false;
  }
}

async function sourced(
  client: RegistryClient,
  fetched: FetchedManifest,
  reference: string,
  context: SourceContext,
): Promise<SourcedImage> {
  const what = `image ${JSON.stringify(reference)}`;
  const { parsed, carried } = carriedImage(fetched.bytes, what);
  const config = await client.smallBlob(parsed.config, CONFIG_MAX_BYTES);
  checkConfig(config, parsed.layers.length, context.platform, what);
  return {
    manifest: carried.manifest,
    config,
    layers: carried.layers.map((descriptor) => ({
      descriptor,
      blob: { digest: descriptor.digest, size: descriptor.size, open: () => client.blob(descriptor) },
    })),
    buildType: REGISTRY_BUILD_TYPE,
    externalParameters: { registry: reference, platform: context.platform },
    // Of the registry's own bytes: after a conversion from Docker's media types only this names them.
    materials: [{ uri: `docker://${reference}`, digest: { sha256: hexOf(fetched.digest) } }],
  };
}
