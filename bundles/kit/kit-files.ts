/**
 * What lies in a kit: Sealift's own files as the checkout's last commit has them, and the packages that
 * package-lock.json names for one platform, each fetched by its sha512, libatomic, and the engine's packages that were
 * asked for. Neither the working directory nor the checkout's node_modules is used: what nobody committed or
 * locked does not cross the gap.
 */
import { basename, join } from "node:path";
import type { DebianInput, NpmInput } from "../model/appliance.ts";
import { npmFiles } from "../source/recipe/build-recipe.ts";
import { debianPackages } from "../source/recipe/debian-package.ts";
import type { TreeEntry } from "../source/recipe/file-tree.ts";
import { readContent } from "../source/recipe/file-tree.ts";
import { inParallel } from "../source/recipe/in-parallel.ts";
import { workspaceClosure } from "../source/recipe/package-lock.ts";
import { runTool } from "../source/recipe/run-tool.ts";
import { listTar } from "../source/recipe/tar-reader.ts";
import {
  type EngineHost,
  KIT_LOCK,
  type KitLock,
  type KitPlatform,
  type LockedPart,
  parseKitLock,
  SUITES,
} from "./debian-packages.ts";
import { kitError } from "./error.ts";
import { hostLibraries } from "./host-libraries.ts";

export type KitFile = Exclude<TreeEntry, { type: "directory" }>;

export interface KitFiles {
  /** Below the kit's one directory, by path. Contents lie in `spool`. */
  readonly files: Map<string, KitFile>;
  /** Installed packages by where they lie, e.g. `node_modules/yaml`; the pinned Node is among them. */
  readonly packages: ReadonlyMap<string, NpmInput>;
  readonly nodePackage: NpmInput;
  /** Each package once: that of the library which Node needs, and the engine's, whole. */
  readonly debian: readonly KitDebian[];
  readonly version: string;
  /** The commit's full id, and its time in RFC 3339. */
  readonly commit: string;
  readonly created: string;
  /** Tracked files in the checkout differ from the commit; their changes are not in the kit. */
  readonly isDirty: boolean;
}

/** A Debian package, or the library of one, with the distribution that a package URL names. */
export interface KitDebian {
  readonly input: DebianInput;
  readonly distro: string;
  /** Node needs it; the others make the engine. */
  readonly isLibrary: boolean;
}

/** What of the repository goes in. Tests and the tools of development stay behind. */
const SOURCES = [
  "sealift",
  "package.json",
  "package-lock.json",
  "LICENSE",
  "SECURITY.md",
  "bundles",
  "compose",
  "installer",
  "runbooks",
  "sbom",
  "verify",
];
/** Of the Node package; its headers and manuals are a third of it, and a site compiles nothing. */
const NODE_FILES = ["bin/node", "LICENSE", "package.json"];
const CPU: Readonly<Record<KitPlatform, string>> = { "linux/amd64": "x64", "linux/arm64": "arm64" };
const SOURCES_MAX_BYTES = 256 * 1024 * 1024;
const PARALLEL = 4;

export interface GatherOptions {
  /** The checkout. */
  readonly root: string;
  readonly platform: KitPlatform;
  /** An empty directory for unpacked archives; the files' contents stay there. */
  readonly spool: string;
  readonly cacheDir: string;
  /** Hosts whose engine goes in: `engine/HOST/*.deb`. */
  readonly engines: readonly EngineHost[];
  readonly onProgress: (detail: string) => void;
}

/**
 * @throws KIT_CHECKOUT_MISSING if `root` is no Git checkout with a commit; KIT_SOURCE_REFUSED for a link
 * among the sources or a lock without the Node package; KIT_ENGINE_UNSUPPORTED for a host whose packages nobody
 * locked; RECIPE_MALFORMED for the lock; SOURCE_* as
 * `fetchToCache` does for packages that are not in the cache.
 */
export async function gatherKitFiles(options: GatherOptions): Promise<KitFiles> {
  const git = gitOf(options.root);
  const commit = (await git(["rev-parse", "--verify", "HEAD^{commit}"])).trim();
  const time = new Date(Number(await git(["show", "--no-patch", "--format=%ct", commit])) * 1000);
  const isDirty = (await git(["status", "--porcelain", "--untracked-files=no", "--", ...SOURCES])) !== "";
  const files = await sourceFiles(options, git, commit);
  const lock = contentOf(files, "package-lock.json");
  const { version } = JSON.parse(contentOf(files, "package.json").toString("utf8")) as { version: string };
  const nodeName = `node-linux-${CPU[options.platform]}`;
  // Whatever else is optional needs an install script or serves development.
  const closure = workspaceClosure(lock, "", options.platform.split("/")[1] as string, (name) => name === nodeName);
  const nodePackage = closure.packages.get(`node_modules/${nodeName}`);
  if (!nodePackage) throw kitError("KIT_SOURCE_REFUSED", `package-lock.json: no package ${JSON.stringify(nodeName)}`);
  const kitLock = parseKitLock(contentOf(files, KIT_LOCK));
  // Before anything is fetched.
  for (const host of options.engines) engineOf(kitLock, options.platform, host);
  await addPackages(files, closure.packages, nodePackage, options);
  const debian = await addDebian(files, kitLock, options);
  files.set("node_modules/.bin/node", { type: "symlink", target: `../${nodeName}/bin/node` });
  return {
    files,
    packages: closure.packages,
    nodePackage,
    debian,
    version,
    commit,
    created: time.toISOString().replace(".000Z", "Z"),
    isDirty,
  };
}

/** What the lock has for a host. @throws KIT_ENGINE_UNSUPPORTED */
function engineOf(lock: KitLock, platform: KitPlatform, host: EngineHost): LockedPart {
  const locked = lock.platforms[platform][host];
  if (locked) return locked;
  throw kitError("KIT_ENGINE_UNSUPPORTED", `--engine ${host}: ${KIT_LOCK} names no packages for it`, {
    hints: [
      "SEALIFT_UBUNTU_MIRROR=URL sealift kit lock, and commit what it wrote",
      "or build the kit without it, carry the packages beside it, and use host setup --engine-debs DIR",
    ],
  });
}

/** @throws KIT_SOURCE_REFUSED, and SOURCE_* as `fetchToCache` does */
async function addDebian(files: Map<string, KitFile>, locked: KitLock, options: GatherOptions): Promise<KitDebian[]> {
  const { platform, spool, cacheDir, engines, onProgress } = options;
  const lock = locked.platforms[platform];
  const fetched = debianPackages(cacheDir);
  const libraries = inputsOf(lock.library);
  for (const [path, file] of await hostLibraries(
    libraries.map(({ input }) => input),
    fetched,
    spool,
  ))
    files.set(path, file);
  // Of the other package only the copyright file is carried.
  const libatomic = libraries.filter(({ input }) => input.package === "libatomic1");
  const carried = libatomic.map((one): KitDebian => ({ ...one, isLibrary: true }));
  for (const host of engines) {
    const packages = inputsOf(engineOf(locked, platform, host));
    await inParallel(packages, PARALLEL, async ({ input }) => {
      const content = { file: await fetched(input), position: 0, size: input.size };
      onProgress(`${host}: ${input.package} ${input.version}`);
      files.set(`engine/${host}/${basename(input.path)}`, { type: "file", mode: 0o644, uid: 0, gid: 0, content });
    });
    const known = new Set(carried.map(({ input }) => input.sha256));
    carried.push(
      ...packages.filter(({ input }) => !known.has(input.sha256)).map((one) => ({ ...one, isLibrary: false })),
    );
  }
  return carried;
}

function inputsOf(part: LockedPart): { readonly input: DebianInput; readonly distro: string }[] {
  const suites = Object.entries(part) as [keyof typeof SUITES, readonly DebianInput[]][];
  return suites.flatMap(([suite, inputs]) => inputs.map((input) => ({ input, distro: SUITES[suite].distro })));
}

function contentOf(files: ReadonlyMap<string, KitFile>, path: string): Buffer {
  const file = files.get(path);
  if (file?.type !== "file") throw kitError("KIT_SOURCE_REFUSED", `the commit has no file ${JSON.stringify(path)}`);
  return readContent(file.content);
}

type Git = (args: readonly string[], toFile?: string) => Promise<string>;

function gitOf(root: string): Git {
  return async (args, toFile) => {
    // Named, so that neither a repository around an installed kit nor GIT_DIR decides which one is meant.
    const own = [`--git-dir=${join(root, ".git")}`, `--work-tree=${root}`, "-c", "core.autocrlf=false"];
    const { status, stdout, stderr } = await runTool("git", [...own, ...args], {
      cwd: root,
      maxBytes: SOURCES_MAX_BYTES,
      from: "git",
      ...(toFile === undefined ? {} : { toFile }),
    });
    if (status === 0) return stdout.toString("utf8");
    const said = stderr.trim().split("\n").at(0) ?? "";
    throw kitError("KIT_CHECKOUT_MISSING", `${JSON.stringify(root)}: git ${args[0]}: ${said}`, {
      hints: [
        "a kit is built from a Git checkout of Sealift, not from another kit: git clone, then ./sealift kit build",
      ],
    });
  };
}

async function sourceFiles({ spool }: GatherOptions, git: Git, commit: string): Promise<Map<string, KitFile>> {
  const tar = join(spool, "sources.tar");
  await git(["archive", "--format=tar", commit, "--", ...SOURCES], tar);
  const files = new Map<string, KitFile>();
  for (const { path, type, mode, position, size } of listTar(tar, "sources")) {
    if (type === "directory") continue;
    if (type !== "file") throw kitError("KIT_SOURCE_REFUSED", `${JSON.stringify(path)} is a link, want a file`);
    const isExecutable = (mode & 0o100) !== 0;
    files.set(path, {
      type: "file",
      mode: isExecutable ? 0o755 : 0o644,
      uid: 0,
      gid: 0,
      content: { file: tar, position, size },
    });
  }
  return files;
}

async function addPackages(
  files: Map<string, KitFile>,
  packages: ReadonlyMap<string, NpmInput>,
  nodePackage: NpmInput,
  options: GatherOptions,
): Promise<void> {
  let done = 0;
  const unpacked = await inParallel([...packages], PARALLEL, async ([location, input]) => {
    const found = await npmFiles(input, options.spool, options);
    options.onProgress(`${++done} of ${packages.size} packages`);
    return { location, input, found };
  });
  for (const { location, input, found } of unpacked) {
    for (const [path, entry] of found) {
      if (input !== nodePackage || NODE_FILES.includes(path)) files.set(`${location}/${path}`, entry);
    }
  }
  const missing = NODE_FILES.find((path) => !files.has(`node_modules/${nodePackage.name}/${path}`));
  if (missing !== undefined) {
    throw kitError("KIT_SOURCE_REFUSED", `npm package ${nodePackage.name}@${nodePackage.version}: no ${missing} in it`);
  }
}
