/**
 * A recipe: how one image is made from Debian packages, npm packages and files of this repository. It is
 * YAML, validated by `recipeSchema`. Versions of Debian packages and hashes of everything fetched are not
 * here but in the lock, which `bundle lock` writes.
 */
import { readFile } from "node:fs/promises";
import { dirname, join, posix, relative } from "node:path";
import { parseDocument } from "yaml";
import { canonicalJson } from "../../model/canonical-json.ts";
import { type Digest, digestOf } from "../../model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../model/schema.ts";
import { reasonOf } from "../../model/sealift-error.ts";
import { recipeError } from "./error.ts";

export const RECIPE_MAX_BYTES = 256 * 1024;
const BASE_DEPTH_MAX = 8;

/** All paths in the image are absolute; all paths of sources are relative to the recipe file. */
export interface Recipe {
  readonly schemaVersion: 1;
  /** Another recipe. Its layers come first, byte for byte; its configuration and users are inherited. */
  readonly base?: string;
  readonly debian?: DebianRecipe;
  readonly npm?: readonly NpmRecipe[];
  readonly workspace?: WorkspaceRecipe;
  /** User name → uid; a group of the same name and number is made too. */
  readonly users?: Readonly<Record<string, number>>;
  readonly directories?: Readonly<Record<string, { readonly mode: string; readonly user?: string }>>;
  readonly files?: Readonly<Record<string, FileRecipe>>;
  /** Link → what it points to. */
  readonly links?: Readonly<Record<string, string>>;
  readonly config?: ConfigRecipe;
}

export interface DebianRecipe {
  /** A codename, e.g. `trixie`. Its `-updates` and `-security` suites are read too. */
  readonly suite: string;
  /** Every package by name: dependencies are not resolved, but missing libraries are an error. */
  readonly packages: readonly string[];
  /**
   * Paths that are left out, as patterns without a leading slash: `*` is anything but a slash, `**`
   * anything. A pattern that names a directory takes all below it; `!` brings back; the last match counts.
   * The patterns of the recipes below hold too, and come first.
   */
  readonly drop?: readonly string[];
}

export interface NpmRecipe {
  /** One name for all platforms, or architecture (`amd64`, `arm64`) → name. */
  readonly package: string | Readonly<Record<string, string>>;
  readonly version: string;
  /** File in the package → path in the image. The executable bit is the package's. */
  readonly files: Readonly<Record<string, string>>;
}

export interface WorkspaceRecipe {
  /** The directory with package-lock.json. */
  readonly root: string;
  /** The workspace as package-lock.json calls it, e.g. `compose/services/gateway`. */
  readonly path: string;
  /** Where `root` is in the image. */
  readonly destination: string;
}

export interface FileRecipe {
  readonly content?: string;
  readonly source?: string;
  readonly mode?: string;
  readonly user?: string;
}

/** The members of an OCI image configuration's `config` (image-spec v1.1, config.md) that a recipe may set. */
export interface ConfigRecipe {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: Readonly<Record<string, string>>;
  /** A name in `users`; written to the image as `uid:gid`. */
  readonly User?: string;
  readonly WorkingDir?: string;
  readonly ExposedPorts?: readonly string[];
  readonly StopSignal?: string;
  readonly Labels?: Readonly<Record<string, string>>;
}

const text = { type: "string", minLength: 1, maxLength: 4096 };
const imagePath = { type: "string", pattern: "^(?:/[^/\\u0000]+)+$", maxLength: 1024 };
const mode = { type: "string", pattern: "^[01]?[0-7]{3}$" };
const userName = { type: "string", pattern: "^[a-z][a-z0-9-]{0,30}$" };
const npmName = { type: "string", pattern: "^(?:@[a-z0-9-]+/)?[a-z0-9._-]+$", maxLength: 214 };
const object = (properties: Record<string, object>, required: readonly string[] = []): object => ({
  type: "object",
  additionalProperties: false,
  required,
  properties,
});
const mapOf = (key: object, value: object): object => ({
  type: "object",
  maxProperties: 256,
  propertyNames: key,
  additionalProperties: value,
});
const listOf = (items: object, maxItems = 256): object => ({ type: "array", maxItems, uniqueItems: true, items });

/** Published as `sealift schema recipe`. */
export const recipeSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift image recipe",
  ...object(
    {
      schemaVersion: { const: 1 },
      base: text,
      debian: object(
        {
          suite: { type: "string", pattern: "^[a-z]+$" },
          packages: listOf({ type: "string", pattern: "^[a-z0-9][a-z0-9.+-]+$" }, 1024),
          drop: listOf({ type: "string", pattern: "^!?[^/!]", maxLength: 256 }, 1024),
        },
        ["suite", "packages"],
      ),
      npm: listOf(
        object(
          {
            package: {
              oneOf: [npmName, object({ amd64: npmName, arm64: npmName })],
            },
            version: { type: "string", pattern: "^\\d+\\.\\d+\\.\\d+(?:-[0-9A-Za-z.-]+)?$" },
            files: mapOf({ type: "string", pattern: "^[^/\\u0000]+(?:/[^/\\u0000]+)*$" }, imagePath),
          },
          ["package", "version", "files"],
        ),
      ),
      workspace: object({ root: text, path: text, destination: imagePath }, ["root", "path", "destination"]),
      // 0 is root, and 65534 is nobody; both are always there.
      users: mapOf(userName, { type: "integer", minimum: 1, maximum: 65533 }),
      directories: mapOf(imagePath, object({ mode, user: userName }, ["mode"])),
      files: mapOf(imagePath, {
        oneOf: [
          object({ content: { type: "string", maxLength: RECIPE_MAX_BYTES }, mode, user: userName }, ["content"]),
          object({ source: text, mode, user: userName }, ["source"]),
        ],
      }),
      links: mapOf(imagePath, text),
      config: object({
        Entrypoint: { type: "array", items: text, minItems: 1, maxItems: 64 },
        Cmd: { type: "array", items: text, maxItems: 64 },
        Env: mapOf({ type: "string", pattern: "^[A-Za-z_][A-Za-z0-9_]*$" }, { type: "string", maxLength: 4096 }),
        User: userName,
        WorkingDir: { type: "string", pattern: "^/", maxLength: 1024 },
        ExposedPorts: listOf({ type: "string", pattern: "^[0-9]{1,5}/(?:tcp|udp)$" }),
        StopSignal: { type: "string", pattern: "^SIG[A-Z0-9]+$" },
        Labels: mapOf(text, { type: "string", maxLength: 4096 }),
      }),
    },
    ["schemaVersion"],
  ),
};

/** A recipe with the recipes below it. */
export interface RecipeFile {
  readonly recipe: Recipe;
  /** The directory to which the recipe's source paths are relative. */
  readonly directory: string;
  /** Relative to the appliance file's directory: how the recipe is called in provenance. */
  readonly name: string;
  /** Of the file's bytes. */
  readonly fileDigest: Digest;
  /** Of this file and of all below it: what the lock records. Does not cover the sources that it names. */
  readonly digest: Digest;
  readonly base?: RecipeFile;
}

/**
 * Reads the recipe at `path` (relative to `root`) and its bases.
 * @throws RECIPE_UNREADABLE | RECIPE_MALFORMED. Does not look at the sources that the recipe names.
 */
export async function readRecipe(root: string, path: string): Promise<RecipeFile> {
  return readRecipeAt(root, join(root, path), BASE_DEPTH_MAX);
}

async function readRecipeAt(root: string, path: string, depth: number): Promise<RecipeFile> {
  const name = relative(root, path);
  const malformed = (what: string, cause?: unknown): Error =>
    recipeError("RECIPE_MALFORMED", `recipe ${JSON.stringify(name)}: ${what}`, { cause });
  if (depth === 0) throw malformed(`more than ${BASE_DEPTH_MAX} recipes on top of each other, or a circle`);
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw recipeError("RECIPE_UNREADABLE", `recipe ${JSON.stringify(name)}: ${reasonOf(cause)}`, { cause });
  }
  if (bytes.length > RECIPE_MAX_BYTES) throw malformed(`got ${bytes.length} bytes, want at most ${RECIPE_MAX_BYTES}`);
  // Aliases are refused (maxAliasCount 0): a few lines of them can stand for gigabytes.
  const document = parseDocument(bytes.toString("utf8"), { uniqueKeys: true, strict: true });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem) throw malformed(problem.message.split("\n")[0] ?? "not YAML", problem);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 });
  } catch (cause) {
    throw malformed(reasonOf(cause), cause);
  }
  const shape = schemaProblem(recipeSchema, value);
  if (shape !== undefined) throw malformed(shape);
  const recipe = value as Recipe;
  checkPaths(recipe, malformed);
  const fileDigest = digestOf(bytes);
  const directory = dirname(path);
  if (recipe.base === undefined) return { recipe, directory, name, fileDigest, digest: fileDigest };
  const base = await readRecipeAt(root, join(directory, recipe.base), depth - 1);
  const digest = digestOf(canonicalJson([fileDigest, base.digest]));
  return { recipe, directory, name, fileDigest, digest, base };
}

function checkPaths(recipe: Recipe, malformed: (what: string) => Error): void {
  const paths = [
    ...Object.keys(recipe.files ?? {}),
    ...Object.keys(recipe.directories ?? {}),
    ...Object.keys(recipe.links ?? {}),
    ...(recipe.npm ?? []).flatMap(({ files }) => [...Object.values(files), ...Object.keys(files).map((f) => `/${f}`)]),
    ...(recipe.workspace ? [recipe.workspace.destination, `/${recipe.workspace.path}`] : []),
  ];
  for (const path of paths) {
    if (posix.normalize(path) !== path) throw malformed(`path ${JSON.stringify(path)} is not in its simplest form`);
  }
}

/** The recipe and the recipes below it, lowest first. */
export function recipeChain(file: RecipeFile): RecipeFile[] {
  return file.base ? [...recipeChain(file.base), file] : [file];
}

/** `amd64` or `arm64`, as Debian and OCI both call it. */
export function architectureOf(platform: string): string {
  const architecture = platform.split("/")[1];
  if (architecture === undefined) throw new TypeError(`not a platform: ${JSON.stringify(platform)}`);
  return architecture;
}

/** The npm package that `entry` means on `architecture`. @throws RECIPE_MALFORMED */
export function npmPackageName(entry: NpmRecipe, architecture: string): string {
  const name = typeof entry.package === "string" ? entry.package : entry.package[architecture];
  if (name === undefined) {
    throw recipeError("RECIPE_MALFORMED", `npm package ${entry.version}: no name for ${architecture}`);
  }
  return name;
}
