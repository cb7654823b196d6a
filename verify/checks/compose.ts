/** `compose`: what will be started is what was signed (bundles/model/compose-template.ts has the rules). */
import { type BundleRelease, DOCUMENT_MAX_BYTES } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { composeProblems } from "../../bundles/model/compose-template.ts";
import { type Finding, failed, passed } from "../verdict.ts";

export function checkCompose(layout: Layout, release: BundleRelease): Finding[] {
  const template = parseCanonicalJson(layout.read(release.manifest.compose, DOCUMENT_MAX_BYTES));
  if (template === undefined) {
    return [failed("compose", "template", "COMPOSE_MALFORMED", "compose template: not canonical JSON (RFC 8785)")];
  }
  const images = new Map(release.manifest.images.map(({ name, digest }) => [name, digest]));
  const files = release.manifest.files.map(({ name }) => name);
  const configSchema = parseCanonicalJson(layout.read(release.manifest.configSchema, DOCUMENT_MAX_BYTES));
  const problems = composeProblems(template, { images, files, configSchema });
  if (problems.length > 0) return problems.map(({ code, message }) => failed("compose", "template", code, message));
  const services = Object.keys((template as { services: object }).services).length;
  return [passed("compose", "template", `${services} services, each pinned to an image of the release`)];
}
