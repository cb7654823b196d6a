/** A release's documents as the site uses them, from an open layout or from the site's store. */
import { type BundleRelease, DOCUMENT_MAX_BYTES, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, type Layout, openLayout } from "../../bundles/layout/layout.ts";
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import { parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import type { ComposeTemplate } from "../../bundles/model/compose-template.ts";
import { type Digest, hexOf } from "../../bundles/model/digest.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { type Colour, type RenderInput, renderSite } from "../../compose/render.ts";
import type { Config } from "../site/config.ts";
import type { StatePaths } from "../site/state.ts";
import { storedPath } from "../site/store.ts";
import { lifecycleError } from "./error.ts";

/** How a site gets a release that it has, or had, back into its store. */
export const RESTORE_HINT = "sealift recover --bundle BUNDLE brings the release back from its medium";
const DAMAGE = /^(?:LAYOUT_|ENGINE_BUNDLE_CHANGED$)/;

export interface ReleaseParts {
  readonly layout: Layout;
  readonly release: BundleRelease;
  readonly template: ComposeTemplate;
  readonly rules: ApplianceRules;
  readonly configSchema: JsonSchema;
}

/** Of a verified release: every document is read by its digest, and was judged by `verify`. */
export function releaseParts(layout: Layout, release: BundleRelease): ReleaseParts {
  const read = (digest: Digest): unknown => parseCanonicalJson(layout.read(digest, DOCUMENT_MAX_BYTES));
  const template = read(release.manifest.compose) as ComposeTemplate;
  const configSchema = read(release.manifest.configSchema) as JsonSchema;
  return { layout, release, template, rules: template["x-sealift"], configSchema };
}

/**
 * Runs `work` on a release that lies in the site's store. Its identity is checked, its signatures are not:
 * that was done before it was allowed into the store. @throws RELEASE_NOT_STORED if it is not there or what it
 * is cannot be read, and what `work` throws; to what a damaged copy lets it throw the way out is added
 */
export async function withStoredRelease<Value>(
  paths: StatePaths,
  digest: Digest,
  work: (parts: ReleaseParts) => Promise<Value>,
): Promise<Value> {
  const path = storedPath(paths.directory, digest);
  const { layout, store } = openStored(path, digest);
  try {
    return await work(storedParts(layout, digest));
  } catch (cause) {
    if (!(cause instanceof SealiftError) || !DAMAGE.test(cause.code)) throw cause;
    const { code, exit, message, hints } = cause;
    throw new SealiftError(code, exit, message, { cause, hints: [...hints, RESTORE_HINT] });
  } finally {
    closeStore(store);
  }
}

function storedParts(layout: Layout, digest: Digest): ReleaseParts {
  try {
    const { release: descriptor } = readLayoutIndex(layout);
    if (descriptor.digest === digest) return releaseParts(layout, readRelease(layout, descriptor));
    throw notStored(digest, `it holds ${descriptor.digest}`);
  } catch (cause) {
    throw cause instanceof SealiftError && cause.code.startsWith("LAYOUT_") ? notStored(digest, cause.message) : cause;
  }
}

function openStored(path: string, digest: Digest): ReturnType<typeof openLayout> {
  try {
    return openLayout(path);
  } catch (cause) {
    throw notStored(digest, reasonOf(cause));
  }
}

function notStored(digest: Digest, why: string): Error {
  return lifecycleError("RELEASE_NOT_STORED", `release ${digest} is not whole in the site's store: ${why}`, {
    hints: [RESTORE_HINT],
  });
}

/** What the renderer needs to know of this site. */
export function renderInput(
  { paths, siteId }: { readonly paths: StatePaths; readonly siteId: string },
  { release, template }: Pick<ReleaseParts, "release" | "template">,
  colour: Colour,
  config: Config,
): RenderInput {
  const { appliance, version } = release.manifest;
  const blobs = `${storedPath(paths.directory, release.descriptor.digest)}/blobs/sha256`;
  const files = [...release.files].flatMap(([name, { manifest }]) => {
    const [layer] = manifest.layers;
    return layer ? [[name, `${blobs}/${hexOf(layer.digest)}`] as const] : [];
  });
  return {
    template,
    appliance,
    version,
    release: release.descriptor.digest,
    siteId,
    colour,
    secretsDirectory: `${paths.directory}/secrets`,
    switchDirectory: `${paths.directory}/switch`,
    files: Object.fromEntries(files),
    config,
  };
}

export function renderFor(
  site: { readonly paths: StatePaths; readonly siteId: string },
  parts: ReleaseParts,
  colour: Colour,
  config: Config,
): ReturnType<typeof renderSite> {
  return renderSite(renderInput(site, parts, colour, config));
}
