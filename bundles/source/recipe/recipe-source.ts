/** The `recipe` source of images: see recipe.ts for what a recipe says, build-recipe.ts for what is made of it. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { blobFromFile } from "../../layout/blob-source.ts";
import type { DebianInput, ImageLock, NpmInput } from "../../model/appliance.ts";
import { canonicalJson } from "../../model/canonical-json.ts";
import { parsePlatform } from "../../model/descriptor.ts";
import { digestOf } from "../../model/digest.ts";
import { OCI_IMAGE_CONFIG, OCI_MANIFEST } from "../../model/media-types.ts";
import { reasonOf } from "../../model/sealift-error.ts";
import type { ImageSource, SourceContext, SourcedImage } from "../source.ts";
import { type BuiltRecipe, buildRecipe, type LockedInputs, npmKey } from "./build-recipe.ts";
import { newestPackages } from "./debian-archive.ts";
import { recipeError } from "./error.ts";
import { lockNpmPackage, npmRegistry } from "./npm-registry.ts";
import { workspaceClosure } from "./package-lock.ts";
import { architectureOf, npmPackageName, type RecipeFile, readRecipe, recipeChain } from "./recipe.ts";

/** SLSA buildType of images that this source makes. */
export const RECIPE_BUILD_TYPE = "https://sealift.dev/buildtypes/recipe/v1";

type RecipeLock = Extract<ImageLock, { kind: "recipe" }>;

/**
 * An image made from the recipe at `recipePath`, relative to the appliance file. `lock` needs gpgv, xz and
 * Debian's keyring, `load` needs dpkg-deb; both need a mirror only for what the cache has not.
 */
export function recipeSource(recipePath: string): ImageSource {
  return {
    lock: (context) => lockRecipe(recipePath, context),
    load: (lock, context) => loadRecipe(recipePath, lock, context),
  };
}

async function lockRecipe(recipePath: string, context: SourceContext): Promise<RecipeLock> {
  const file = await readRecipe(context.root, recipePath);
  const architecture = architectureOf(context.platform);
  const bySuite = new Map<string, string[]>();
  for (const { recipe } of recipeChain(file)) {
    if (!recipe.debian) continue;
    bySuite.set(recipe.debian.suite, [...(bySuite.get(recipe.debian.suite) ?? []), ...recipe.debian.packages]);
  }
  const { cacheDir, onProgress } = context;
  const debian: DebianInput[] = [];
  for (const [suite, packages] of bySuite) {
    debian.push(...(await newestPackages({ suite, packages, architecture, cacheDir, onProgress })));
  }
  const npm = new Map((await closurePackages(file, architecture)).map((input) => [npmKey(input), input]));
  let registry: string | undefined;
  for (const { name, version } of pickedPackages(file, architecture)) {
    const key = npmKey({ name, version });
    if (npm.has(key)) continue;
    onProgress(`npm package ${key}`);
    registry ??= await npmRegistry(context.root);
    npm.set(key, await lockNpmPackage(name, version, registry));
  }
  const sortedNpm = [...npm].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, input]) => input);
  const sortedDebian = debian.sort((a, b) => (a.package < b.package ? -1 : 1));
  return { kind: "recipe", recipe: file.digest, debian: sortedDebian, npm: sortedNpm };
}

async function loadRecipe(recipePath: string, lock: ImageLock, context: SourceContext): Promise<SourcedImage> {
  const file = await readRecipe(context.root, recipePath);
  const inputs = await lockedInputs(file, lock, architectureOf(context.platform));
  return renderImage(file, await buildRecipe(file, inputs, context), context);
}

/** The inputs of `lock`, if they are exactly those that the recipe asks for. @throws RECIPE_LOCK_STALE */
async function lockedInputs(file: RecipeFile, lock: ImageLock, architecture: string): Promise<LockedInputs> {
  const stale = (what: string): Error =>
    recipeError("RECIPE_LOCK_STALE", `lock of recipe ${JSON.stringify(file.name)}: ${what}`, {
      hints: ["sealift bundle lock --appliance FILE"],
    });
  if (lock.kind !== "recipe") throw stale(`got kind ${JSON.stringify(lock.kind)}, want "recipe"`);
  if (lock.recipe !== file.digest) throw stale(`got a lock of ${lock.recipe}, want ${file.digest}`);
  const debian = new Map(lock.debian.map((input) => [input.package, input]));
  const npm = new Map(lock.npm.map((input) => [npmKey(input), input]));
  const wantedDebian = recipeChain(file).flatMap(({ recipe }) => recipe.debian?.packages ?? []);
  const twice = wantedDebian.find((name, i) => wantedDebian.indexOf(name) !== i);
  if (twice !== undefined) {
    throw recipeError("RECIPE_MALFORMED", `recipe ${JSON.stringify(file.name)}: ${twice} is in a recipe below too`);
  }
  const closure = await closurePackages(file, architecture);
  const wantedNpm = new Set([...pickedPackages(file, architecture), ...closure].map(npmKey));
  compare(
    lock.debian.map((input) => input.package),
    new Set(wantedDebian),
    stale,
  );
  compare(lock.npm.map(npmKey), wantedNpm, stale);
  for (const { architecture: got, package: name } of lock.debian) {
    if (got !== "all" && got !== architecture) throw stale(`package ${name} is for ${got}, want ${architecture}`);
  }
  for (const wanted of closure) {
    if (npm.get(npmKey(wanted))?.integrity !== wanted.integrity)
      throw stale(`${npmKey(wanted)} is another in package-lock.json`);
  }
  return { debian, npm };
}

function compare(got: readonly string[], want: ReadonlySet<string>, stale: (what: string) => Error): void {
  const missing = [...want].find((name) => !got.includes(name));
  if (missing !== undefined) throw stale(`it lacks ${JSON.stringify(missing)}`);
  const extra = got.find((name, i) => !want.has(name) || got.indexOf(name) !== i);
  if (extra !== undefined) throw stale(`it has ${JSON.stringify(extra)}, for which no recipe asks once`);
}

function pickedPackages(file: RecipeFile, architecture: string): { name: string; version: string }[] {
  return recipeChain(file).flatMap(({ recipe }) =>
    (recipe.npm ?? []).map((entry) => ({ name: npmPackageName(entry, architecture), version: entry.version })),
  );
}

/** The npm packages below the workspaces of the recipe and of those below it, by package-lock.json. */
async function closurePackages(file: RecipeFile, architecture: string): Promise<NpmInput[]> {
  const packages: NpmInput[] = [];
  for (const { recipe, directory, name } of recipeChain(file)) {
    if (!recipe.workspace) continue;
    let bytes: Buffer;
    try {
      bytes = await readFile(join(directory, recipe.workspace.root, "package-lock.json"));
    } catch (cause) {
      throw recipeError("RECIPE_UNREADABLE", `recipe ${JSON.stringify(name)}: ${reasonOf(cause)}`, { cause });
    }
    packages.push(...workspaceClosure(bytes, recipe.workspace.path, architecture).packages.values());
  }
  return packages;
}

/**
 * The same for every image: with the time of the lock in it, a new lock would make each image a new one, and
 * an upgrade would replace a database of which no byte has changed.
 */
const IMAGE_CREATED = "1970-01-01T00:00:00Z";

function renderImage(file: RecipeFile, built: BuiltRecipe, context: SourceContext): SourcedImage {
  const platform = parsePlatform(context.platform);
  if (!platform) throw new TypeError(`not a platform: ${JSON.stringify(context.platform)}`);
  const { User, Env = {}, Labels = {}, ExposedPorts = [], ...plain } = built.config;
  const id = User === undefined ? undefined : built.users[User];
  const config = canonicalJson({
    created: IMAGE_CREATED,
    os: platform.os,
    architecture: platform.architecture,
    config: {
      ...plain,
      // By number: an engine then needs nothing in the image to know whom it starts.
      ...(id !== undefined && { User: `${id}:${id}` }),
      ...(Object.keys(Env).length > 0 && { Env: Object.entries(Env).map(([name, value]) => `${name}=${value}`) }),
      ...(Object.keys(Labels).length > 0 && { Labels }),
      ...(ExposedPorts.length > 0 && { ExposedPorts: Object.fromEntries(ExposedPorts.map((port) => [port, {}])) }),
    },
    rootfs: { type: "layers", diff_ids: built.layers.map((layer) => layer.diffId) },
  });
  const manifest = canonicalJson({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_IMAGE_CONFIG, digest: digestOf(config), size: config.length },
    layers: built.layers.map((layer) => layer.descriptor),
  });
  return {
    manifest,
    config,
    layers: built.layers.map(({ descriptor, file: path }) => ({
      descriptor,
      blob: blobFromFile(path, descriptor.digest, descriptor.size),
    })),
    buildType: RECIPE_BUILD_TYPE,
    externalParameters: { recipe: file.name, platform: context.platform },
    materials: uniqueMaterials(built),
  };
}

function uniqueMaterials({ materials }: BuiltRecipe): BuiltRecipe["materials"] {
  const unique = new Map(materials.map((material) => [canonicalJson(material).toString(), material]));
  return [...unique].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, material]) => material);
}
