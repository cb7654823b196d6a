/**
 * Makes the layers of a recipe. Everything that goes in is named by digest in the lock, or is a source file
 * whose digest goes into the provenance; nothing of the machine, the time or the user gets in. No code of
 * any package is run.
 */

import { randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join, posix, relative } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { PackageURL } from "packageurl-js";
import type { DebianInput, NpmInput } from "../../model/appliance.ts";
import { canonicalJson } from "../../model/canonical-json.ts";
import { type Digest, digestOf, hexOf, isDigest } from "../../model/digest.ts";
import { OCI_LAYER_ZSTD } from "../../model/media-types.ts";
import { reasonOf } from "../../model/sealift-error.ts";
import type { ResourceDescriptor, SourceContext } from "../source.ts";
import { type UnpackedDeb, unpackDeb } from "./deb.ts";
import { debianPackages } from "./debian-package.ts";
import { type InstalledDeb, renderInfo, renderStatus, STATUS_FILE } from "./dpkg-database.ts";
import { recipeError } from "./error.ts";
import { type Content, contentSize, FileTree, readContent, type TreeEntry } from "./file-tree.ts";
import { inParallel } from "./in-parallel.ts";
import { LAYER_ZSTD_LEVEL, layerIsThere, readLayer, type WrittenLayer, writeLayer } from "./layer.ts";
import { checkLibraries } from "./library-check.ts";
import { fetchNpmPackage, integrityHex, npmRegistry } from "./npm-registry.ts";
import { type WorkspaceClosure, workspaceClosure } from "./package-lock.ts";
import { architectureOf, type ConfigRecipe, npmPackageName, type RecipeFile, recipeChain } from "./recipe.ts";
import { listTar, type TarMember } from "./tar-reader.ts";

/** Goes up whenever the same inputs would give another layer, so that no old one is taken from the cache. */
const BUILDER_VERSION = 1;
const PARALLEL = 4;
const SOURCE_MAX_BYTES = 64 * 1024 * 1024;
const NPM_UNPACKED_MAX_BYTES = 1024 ** 3;
const NOLOGIN = "/usr/sbin/nologin";

/** The lock's inputs, by name; what each recipe of a chain takes from them is disjoint. */
export interface LockedInputs {
  readonly debian: ReadonlyMap<string, DebianInput>;
  /** By `name@version`. */
  readonly npm: ReadonlyMap<string, NpmInput>;
}

export interface BuiltRecipe {
  readonly layers: readonly WrittenLayer[];
  /** Name → uid, of this recipe and those below. */
  readonly users: Readonly<Record<string, number>>;
  readonly config: ConfigRecipe;
  readonly materials: readonly ResourceDescriptor[];
}

export function npmKey(input: { readonly name: string; readonly version: string }): string {
  return `${input.name}@${input.version}`;
}

/**
 * Builds `file` and the recipes below it, taking finished layers from the cache where all their inputs are
 * the same. @throws every RECIPE_ and SOURCE_ code.
 */
export async function buildRecipe(
  file: RecipeFile,
  inputs: LockedInputs,
  context: SourceContext,
): Promise<BuiltRecipe> {
  const base = file.base && (await buildRecipe(file.base, inputs, context));
  const { recipe } = file;
  const architecture = architectureOf(context.platform);
  const sources = await readSources(file, context);
  const debian = (recipe.debian?.packages ?? []).map((name) => inputs.debian.get(name) as DebianInput);
  const picks = (recipe.npm ?? []).map((entry) => ({
    entry,
    input: inputs.npm.get(npmKey({ name: npmPackageName(entry, architecture), version: entry.version })) as NpmInput,
  }));
  const npm = [...picks.map(({ input }) => input), ...(sources.closure?.packages.values() ?? [])];
  const users = { ...base?.users, ...recipe.users };
  checkUsers(file, users);
  const config = mergeConfig(base?.config, recipe.config);
  const below = base?.layers ?? [];
  const materials = [
    ...(base?.materials ?? []),
    { uri: file.name, digest: { sha256: hexOf(file.fileDigest) } },
    ...sources.materials,
    ...debian.map((input) => debianMaterial(input, recipe.debian?.suite ?? "")),
    ...npm.map(npmMaterial),
  ];
  const key = digestOf(
    canonicalJson({
      builder: [BUILDER_VERSION, LAYER_ZSTD_LEVEL, process.versions["zstd"] ?? ""],
      architecture,
      recipe: file.digest,
      below: below.map(({ descriptor }) => descriptor.digest),
      users,
      debian,
      npm: npm.map(({ name, version, integrity }) => [name, version, integrity]),
      sources: sources.materials,
    }),
  );
  const layersDirectory = join(context.cacheDir, "layers");
  const finished = context.ignoreBuiltLayers ? undefined : await cachedLayer(layersDirectory, key);
  if (finished) return { layers: [...below, ...finished], users, config, materials };

  await mkdir(layersDirectory, { recursive: true });
  const spool = await mkdtemp(join(context.cacheDir, "spool-"));
  try {
    const lower = new Map<string, TreeEntry>();
    for (const layer of below) for (const [path, entry] of await readLayer(layer.file, spool)) lower.set(path, entry);
    const tree = new FileTree(lower);
    await addDebian(tree, file, debian, architecture, spool, context);
    for (const { entry, input } of picks) await addNpmPick(tree, entry.files, input, spool, context);
    if (recipe.workspace && sources.closure) {
      await addWorkspace(tree, recipe.workspace.destination, sources.closure, sources.workspaceFiles, spool, context);
    }
    addAccounts(tree, file, users);
    addOwnEntries(tree, file, sources.files, users);
    checkLibraries(tree, architecture);
    checkEntrypoint(tree, file, config);
    const entries = tree.own();
    context.onProgress(`${file.name}: layer of ${entries.length} files`);
    const written = entries.length === 0 ? [] : [await writeLayer(entries, layersDirectory)];
    await rememberLayer(layersDirectory, key, written);
    return { layers: [...below, ...written], users, config, materials };
  } finally {
    await rm(spool, { recursive: true, force: true });
  }
}

function checkUsers(file: RecipeFile, users: Readonly<Record<string, number>>): void {
  const malformed = (what: string): Error =>
    recipeError("RECIPE_MALFORMED", `recipe ${JSON.stringify(file.name)}: ${what}`);
  if (new Set(Object.values(users)).size !== Object.keys(users).length) throw malformed("two users have one uid");
  const { files = {}, directories = {}, config } = file.recipe;
  const named = [...Object.values(files), ...Object.values(directories)].map(({ user }) => user);
  for (const user of [...named, config?.User]) {
    if (user !== undefined && !Object.hasOwn(users, user)) throw malformed(`no user ${JSON.stringify(user)} in users`);
  }
}

function mergeConfig(base: ConfigRecipe | undefined, own: ConfigRecipe | undefined): ConfigRecipe {
  const inherited = { ...base };
  // As in every image builder: arguments belong to the entrypoint that they were written for.
  if (own?.Entrypoint && inherited.Cmd) delete inherited.Cmd;
  const ports = [...new Set([...(base?.ExposedPorts ?? []), ...(own?.ExposedPorts ?? [])])].sort();
  return {
    ...inherited,
    ...own,
    Env: { ...base?.Env, ...own?.Env },
    Labels: { ...base?.Labels, ...own?.Labels },
    ...(ports.length > 0 && { ExposedPorts: ports }),
  };
}

interface Sources {
  readonly files: ReadonlyMap<string, Buffer>;
  readonly closure?: WorkspaceClosure;
  /** Path below the workspace root → content. */
  readonly workspaceFiles: ReadonlyMap<string, Buffer>;
  readonly materials: readonly ResourceDescriptor[];
}

/** Everything that comes from this repository, read once: what is hashed is what is built. */
async function readSources(file: RecipeFile, context: SourceContext): Promise<Sources> {
  const { recipe, directory } = file;
  const material = (path: string, digest: Digest): ResourceDescriptor => ({
    uri: relative(context.root, path),
    digest: { sha256: hexOf(digest) },
  });
  const materials: ResourceDescriptor[] = [];
  const files = new Map<string, Buffer>();
  for (const [path, { content, source }] of Object.entries(recipe.files ?? {})) {
    if (source === undefined) {
      files.set(path, Buffer.from(content ?? "", "utf8"));
      continue;
    }
    const bytes = await readSource(join(directory, source), file);
    files.set(path, bytes);
    materials.push(material(join(directory, source), digestOf(bytes)));
  }
  const workspaceFiles = new Map<string, Buffer>();
  if (!recipe.workspace) return { files, workspaceFiles, materials };
  const root = join(directory, recipe.workspace.root);
  const lockBytes = await readSource(join(root, "package-lock.json"), file);
  materials.push(material(join(root, "package-lock.json"), digestOf(lockBytes)));
  const closure = workspaceClosure(lockBytes, recipe.workspace.path, architectureOf(context.platform));
  for (const workspace of closure.workspaces) {
    const listing: [string, Digest][] = [];
    for (const path of ["package.json", ...(await sourcePaths(join(root, workspace), "src"))]) {
      const bytes = await readSource(join(root, workspace, path), file);
      workspaceFiles.set(`${workspace}/${path}`, bytes);
      listing.push([path, digestOf(bytes)]);
    }
    // Of the canonical JSON list of [path, digest]: package.json, then the files of src, sorted.
    materials.push(material(join(root, workspace), digestOf(canonicalJson(listing))));
  }
  return { files, closure, workspaceFiles, materials };
}

async function readSource(path: string, file: RecipeFile): Promise<Buffer> {
  try {
    const bytes = await readFile(path);
    if (bytes.length <= SOURCE_MAX_BYTES) return bytes;
    throw new Error(`got ${bytes.length} bytes, want at most ${SOURCE_MAX_BYTES}`);
  } catch (cause) {
    throw recipeError("RECIPE_UNREADABLE", `recipe ${JSON.stringify(file.name)}: ${reasonOf(cause)}`, { cause });
  }
}

/** The regular files below `directory`/`below`, sorted; names that begin with a dot are an editor's, not ours. */
async function sourcePaths(directory: string, below: string): Promise<string[]> {
  const paths: string[] = [];
  let entries: Awaited<ReturnType<typeof listEntries>>;
  try {
    entries = await listEntries(join(directory, below));
  } catch (cause) {
    throw recipeError("RECIPE_UNREADABLE", `workspace sources: ${reasonOf(cause)}`, { cause });
  }
  for (const entry of entries) {
    const path = `${below}/${entry.name}`;
    if (entry.name.startsWith(".")) continue;
    if (entry.isDirectory()) paths.push(...(await sourcePaths(directory, path)));
    else if (entry.isFile()) paths.push(path);
    else throw recipeError("RECIPE_PATH_UNSAFE", `source ${JSON.stringify(path)} is neither file nor directory`);
  }
  return paths.sort();
}

function listEntries(directory: string) {
  return readdir(directory, { withFileTypes: true });
}

function debianMaterial(input: DebianInput, suite: string): ResourceDescriptor {
  const qualifiers = { arch: input.architecture, distro: suite };
  const purl = new PackageURL("deb", "debian", input.package, input.version, qualifiers, undefined);
  return { uri: purl.toString(), digest: { sha256: hexOf(input.sha256) } };
}

function npmMaterial(input: NpmInput): ResourceDescriptor {
  const [scope, name] = input.name.startsWith("@") ? input.name.split("/") : [undefined, input.name];
  const purl = new PackageURL("npm", scope, name as string, input.version, undefined, undefined);
  return { uri: purl.toString(), digest: { sha512: integrityHex(input) } };
}

async function cachedLayer(directory: string, key: Digest): Promise<readonly WrittenLayer[] | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(join(directory, `${hexOf(key)}.json`), "utf8"));
    if (!Array.isArray(value) || value.length > 1) return undefined;
    const layers: WrittenLayer[] = [];
    for (const { digest, size, diffId, tarSize } of value as Record<string, unknown>[]) {
      if (!isDigest(digest) || !isDigest(diffId) || typeof size !== "number" || typeof tarSize !== "number") {
        return undefined;
      }
      const descriptor = { mediaType: OCI_LAYER_ZSTD, digest, size };
      const layer = { descriptor, diffId, tarSize, file: join(directory, hexOf(digest)) };
      if (!(await layerIsThere(layer))) return undefined;
      layers.push(layer);
    }
    return layers;
  } catch {
    // Nothing there, or half a file: the layer is built again.
    return undefined;
  }
}

async function rememberLayer(directory: string, key: Digest, layers: readonly WrittenLayer[]): Promise<void> {
  const value = layers.map(({ descriptor, diffId, tarSize }) => {
    return { digest: descriptor.digest, size: descriptor.size, diffId, tarSize };
  });
  const temporary = join(directory, `partial-${randomUUID()}`);
  await writeFile(temporary, JSON.stringify(value));
  await rename(temporary, join(directory, `${hexOf(key)}.json`));
}

async function addDebian(
  tree: FileTree,
  file: RecipeFile,
  inputs: readonly DebianInput[],
  architecture: string,
  spool: string,
  context: SourceContext,
): Promise<void> {
  if (inputs.length === 0) return;
  const fetched = debianPackages(context.cacheDir);
  let done = 0;
  const debs = await inParallel(inputs, PARALLEL, async (input): Promise<UnpackedDeb> => {
    const path = await fetched(input);
    const deb = await unpackDeb(path, input, spool);
    context.onProgress(`${file.name}: ${++done} of ${inputs.length} Debian packages`);
    return deb;
  });
  // Merged /usr is a matter of base-files: its links must be there before anything is put below them.
  debs.sort((a, b) => rank(a) - rank(b) || (a.input.package < b.input.package ? -1 : 1));
  const keeps = dropFilter(recipeChain(file).flatMap(({ recipe }) => recipe.debian?.drop ?? []));
  const installed: InstalledDeb[] = [];
  for (const deb of debs) {
    const what = `package ${deb.input.package}`;
    if (deb.input.architecture !== "all" && deb.input.architecture !== architecture) {
      throw recipeError("RECIPE_PACKAGE_MALFORMED", `${what}: it is for ${deb.input.architecture}`);
    }
    const paths: string[] = [];
    for (const [path, entry] of tarEntries(deb.tar, deb.members, what)) {
      if (!keeps(path)) continue;
      tree.put(path, entry, what);
      paths.push(path);
    }
    installed.push({ deb, paths });
  }
  const put = (path: string, text: string): void => {
    const entry = { type: "file", mode: 0o644, uid: 0, gid: 0, content: { bytes: Buffer.from(text) } } as const;
    tree.put(path, entry, "package database", true);
  };
  const lower = tree.file(STATUS_FILE);
  put(STATUS_FILE, renderStatus(lower ? readContent(lower.content).toString("utf8") : "", installed));
  for (const [path, text] of renderInfo(installed)) put(path, text);
  addCertificates(tree, debs);
}

function rank(deb: UnpackedDeb): number {
  return deb.input.package === "base-files" ? 0 : 1;
}

/** What the ca-certificates package would do in its postinst with every certificate trusted. */
function addCertificates(tree: FileTree, debs: readonly UnpackedDeb[]): void {
  if (!debs.some((deb) => deb.input.package === "ca-certificates")) return;
  const directory = "usr/share/ca-certificates/mozilla/";
  const certificates = tree
    .own()
    .flatMap(([path, entry]) =>
      entry.type === "file" && path.startsWith(directory) && path.endsWith(".crt") ? [readContent(entry.content)] : [],
    );
  const content = { bytes: Buffer.concat(certificates) };
  tree.put("etc/ssl/certs/ca-certificates.crt", { type: "file", mode: 0o644, uid: 0, gid: 0, content }, "certificates");
}

/** Whether a path stays, by DebianRecipe.drop. */
export function dropFilter(patterns: readonly string[]): (path: string) => boolean {
  const rules = patterns.map((pattern) => {
    const keep = pattern.startsWith("!");
    const source = pattern
      .slice(keep ? 1 : 0)
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replace(/\*\*|\*|\?/g, (wild) => (wild === "**" ? ".*" : wild === "*" ? "[^/]*" : "[^/]"));
    return { keep, expression: new RegExp(`^${source}(?:/.*)?$`, "s") };
  });
  return (path) => rules.findLast(({ expression }) => expression.test(path))?.keep ?? true;
}

/**
 * The entries of a package's tar. Owner is root, and no file is set-uid: the containers run without
 * capabilities and with no-new-privileges, where such a bit is only a trap.
 */
function* tarEntries(tar: string, members: readonly TarMember[], what: string): Generator<[string, TreeEntry]> {
  const contents = new Map<string, Extract<TreeEntry, { type: "file" }>>();
  for (const { path, type, mode, target, position, size } of members) {
    if (type === "directory") {
      yield [path, { type, mode: mode & 0o1777, uid: 0, gid: 0 }];
    } else if (type === "symlink") {
      yield [path, { type, target }];
    } else {
      const content: Content = { file: tar, position, size };
      const entry: Extract<TreeEntry, { type: "file" }> | undefined =
        type === "file" ? { type, mode: mode & 0o777, uid: 0, gid: 0, content } : contents.get(target);
      if (!entry) {
        throw recipeError("RECIPE_PACKAGE_MALFORMED", `${what}: ${JSON.stringify(path)} is a hard link to nothing`);
      }
      contents.set(path, entry);
      yield [path, entry];
    }
  }
}

/** The files of an npm package, without the directory that they all lie in; modes as npm sets them. */
export async function npmFiles(
  input: NpmInput,
  spool: string,
  context: Pick<SourceContext, "cacheDir" | "root">,
): Promise<Map<string, Extract<TreeEntry, { type: "file" }>>> {
  const what = `npm package ${npmKey(input)}`;
  const tarball = await fetchNpmPackage(input, context.cacheDir, () => npmRegistry(context.root));
  const tar = join(spool, `npm-${randomUUID()}.tar`);
  let size = 0;
  const bounded = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size > NPM_UNPACKED_MAX_BYTES) done(new Error(`more than ${NPM_UNPACKED_MAX_BYTES} bytes`));
      else done(null, chunk);
    },
  });
  try {
    await pipeline(createReadStream(tarball), createGunzip(), bounded, createWriteStream(tar));
  } catch (cause) {
    throw recipeError("RECIPE_PACKAGE_MALFORMED", `${what}: ${reasonOf(cause)}`, { cause });
  }
  const files = new Map<string, Extract<TreeEntry, { type: "file" }>>();
  for (const [path, entry] of tarEntries(tar, listTar(tar, what), what)) {
    if (entry.type === "directory") continue;
    const slash = path.indexOf("/");
    if (entry.type !== "file" || slash < 0) {
      throw recipeError("RECIPE_PACKAGE_MALFORMED", `${what}: ${JSON.stringify(path)} is not a file in its directory`);
    }
    files.set(path.slice(slash + 1), { ...entry, mode: entry.mode & 0o111 ? 0o755 : 0o644 });
  }
  return files;
}

async function addNpmPick(
  tree: FileTree,
  picks: Readonly<Record<string, string>>,
  input: NpmInput,
  spool: string,
  context: SourceContext,
): Promise<void> {
  const what = `npm package ${npmKey(input)}`;
  const files = await npmFiles(input, spool, context);
  for (const [from, to] of Object.entries(picks)) {
    const entry = files.get(from);
    if (!entry) throw recipeError("RECIPE_MALFORMED", `${what}: it has no file ${JSON.stringify(from)}`);
    tree.put(to.slice(1), entry, what);
  }
}

async function addWorkspace(
  tree: FileTree,
  destination: string,
  closure: WorkspaceClosure,
  files: ReadonlyMap<string, Buffer>,
  spool: string,
  context: SourceContext,
): Promise<void> {
  const root = destination.slice(1);
  const packages = [...closure.packages].sort(([a], [b]) => (a < b ? -1 : 1));
  const contents = await inParallel(packages, PARALLEL, ([, input]) => npmFiles(input, spool, context));
  for (const [i, [location, input]] of packages.entries()) {
    for (const [path, entry] of contents[i] ?? []) tree.put(`${root}/${location}/${path}`, entry, npmKey(input));
  }
  for (const [path, bytes] of files) {
    tree.put(`${root}/${path}`, { type: "file", mode: 0o644, uid: 0, gid: 0, content: { bytes } }, "workspace");
  }
  for (const [link, target] of closure.links) {
    const to = posix.relative(posix.dirname(link), target);
    tree.put(`${root}/${link}`, { type: "symlink", target: to }, "workspace");
  }
}

function addAccounts(tree: FileTree, { recipe, base }: RecipeFile, users: Readonly<Record<string, number>>): void {
  if (base && recipe.users === undefined) return;
  const accounts = Object.entries({ root: 0, ...users, nobody: 65534 }).sort(([, a], [, b]) => a - b);
  const put = (path: string, lines: readonly string[]): void => {
    const content = { bytes: Buffer.from(lines.map((line) => `${line}\n`).join("")) };
    tree.put(path, { type: "file", mode: 0o644, uid: 0, gid: 0, content }, "accounts", true);
  };
  put(
    "etc/passwd",
    accounts.map(([name, id]) => `${name}:x:${id}:${id}:${name}:/nonexistent:${NOLOGIN}`),
  );
  put(
    "etc/group",
    accounts.map(([name, id]) => `${name}:x:${id}:`),
  );
  // Without it, glibc asks other sources than files and DNS.
  if (!base) put("etc/nsswitch.conf", ["passwd: files", "group: files", "hosts: files dns", "services: files"]);
}

function addOwnEntries(
  tree: FileTree,
  { recipe, name }: RecipeFile,
  contents: ReadonlyMap<string, Buffer>,
  users: Readonly<Record<string, number>>,
): void {
  const what = `recipe ${name}`;
  const owner = (user: string | undefined) => {
    const id = user === undefined ? 0 : (users[user] ?? 0);
    return { uid: id, gid: id };
  };
  for (const [path, { mode, user }] of Object.entries(recipe.directories ?? {})) {
    tree.put(path.slice(1), { type: "directory", mode: Number.parseInt(mode, 8), ...owner(user) }, what, true);
  }
  for (const [path, { mode, user }] of Object.entries(recipe.files ?? {})) {
    const bytes = contents.get(path) ?? Buffer.alloc(0);
    const permissions = Number.parseInt(mode ?? "0644", 8) & 0o777;
    tree.put(path.slice(1), { type: "file", mode: permissions, ...owner(user), content: { bytes } }, what, true);
  }
  for (const [path, target] of Object.entries(recipe.links ?? {})) {
    tree.put(path.slice(1), { type: "symlink", target }, what, true);
  }
}

/** The entrypoint, and the interpreter that its first line may name, must be there and be executable. */
function checkEntrypoint(tree: FileTree, file: RecipeFile, config: ConfigRecipe): void {
  const command = config.Entrypoint?.[0];
  if (command === undefined) return;
  const executable = (path: string): Extract<TreeEntry, { type: "file" }> => {
    const entry = path.startsWith("/") ? tree.file(path) : undefined;
    if (entry && (entry.mode & 0o111) !== 0) return entry;
    throw recipeError(
      "RECIPE_ENTRYPOINT_MISSING",
      `recipe ${JSON.stringify(file.name)}: ${JSON.stringify(path)} is no executable file of the image`,
    );
  };
  const { content } = executable(command);
  const start = readContent(content, 0, Math.min(256, contentSize(content))).toString("latin1");
  const interpreter = /^#! *(\S+)/.exec(start)?.[1];
  if (interpreter !== undefined) executable(interpreter);
}
