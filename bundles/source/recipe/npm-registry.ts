/** The npm registry as a source of packages: address, integrity of a version, tarball. */
import type { NpmInput } from "../../model/appliance.ts";
import { fetchSmall, fetchToCache } from "./download.ts";
import { recipeError } from "./error.ts";
import { runTool } from "./run-tool.ts";

const METADATA_MAX_BYTES = 16 * 1024 * 1024;
const TARBALL_MAX_BYTES = 512 * 1024 * 1024;

/**
 * SEALIFT_NPM_REGISTRY, or else what npm is configured to use in `directory`; without a final slash.
 * Registries per scope and registries that want a password are not supported.
 * @throws SOURCE_TOOL_MISSING | SOURCE_MIRROR_UNKNOWN
 */
export async function npmRegistry(directory: string): Promise<string> {
  const said = process.env["SEALIFT_NPM_REGISTRY"] ?? (await configured(directory));
  const url = said.trim().replace(/\/+$/, "");
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? "")) {
    throw recipeError("SOURCE_MIRROR_UNKNOWN", "npm registry: got no http address", {
      hints: ["SEALIFT_NPM_REGISTRY=URL sealift bundle lock --appliance FILE"],
    });
  }
  return url;
}

async function configured(directory: string): Promise<string> {
  const options = { cwd: directory, maxBytes: 64 * 1024, from: "npm" };
  const { status, stdout } = await runTool("npm", ["config", "get", "registry"], options);
  return status === 0 ? stdout.toString("utf8") : "";
}

/** What the registry says today about one version. @throws RECIPE_PACKAGE_UNKNOWN | SOURCE_DOWNLOAD_FAILED */
export async function lockNpmPackage(name: string, version: string, registry: string): Promise<NpmInput> {
  const what = `npm package ${name}@${version}`;
  const body = await fetchSmall(`${registry}/${name.replace("/", "%2f")}/${version}`, what, METADATA_MAX_BYTES);
  const integrity = body && integrityIn(body);
  if (integrity === undefined) throw recipeError("RECIPE_PACKAGE_UNKNOWN", `${what}: the registry has no such version`);
  return { name, version, integrity };
}

function integrityIn(body: Buffer): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch {
    return undefined;
  }
  const integrity = (value as { dist?: { integrity?: unknown } } | null)?.dist?.integrity;
  return typeof integrity === "string" ? sha512Integrity(integrity) : undefined;
}

/** The sha512 member of a subresource integrity, in the form of NpmInput.integrity. */
export function sha512Integrity(integrity: string): string | undefined {
  return integrity.split(/\s+/).find((item) => /^sha512-[A-Za-z0-9+/]{86}==$/.test(item));
}

export function integrityHex(input: NpmInput): string {
  return Buffer.from(input.integrity.slice("sha512-".length), "base64").toString("hex");
}

/** The path of the package's tarball (.tgz), whose hash has been checked. Throws what `fetchToCache` throws. */
export async function fetchNpmPackage(
  input: NpmInput,
  cacheDir: string,
  registry: () => Promise<string>,
): Promise<string> {
  const file = `${input.name.split("/").at(-1)}-${input.version}.tgz`;
  return fetchToCache(
    {
      what: `npm package ${input.name}@${input.version}`,
      urls: async () => [`${await registry()}/${input.name}/-/${file}`],
      algorithm: "sha512",
      hex: integrityHex(input),
      maxBytes: TARBALL_MAX_BYTES,
    },
    cacheDir,
  );
}
