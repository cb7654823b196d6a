/**
 * What lies in a kit: Sealift's own files as the checkout's last commit has them, and the packages that
 * package-lock.json names for one platform, each fetched by its sha512, and libatomic. Neither the working directory nor
 * the checkout's node_modules is used: what nobody committed or locked does not cross the gap.
 */
import { join } from "node:path";
import type { DebianInput, NpmInput } from "../model/appliance.ts";
import { npmFiles } from "../source/recipe/build-recipe.ts";
import type { TreeEntry } from "../source/recipe/file-tree.ts";
import { readContent } from "../source/recipe/file-tree.ts";
import { inParallel } from "../source/recipe/in-parallel.ts";
import { workspaceClosure } from "../source/recipe/package-lock.ts";
import { runTool } from "../source/recipe/run-tool.ts";
import { listTar } from "../source/recipe/tar-reader.ts";
import { kitError } from "./error.ts";
import type { hostLibraries } from "./host-libraries.ts";

export const KIT_PLATFORMS = ["linux/amd64", "linux/arm64"] as const;
export type KitPlatform = (typeof KIT_PLATFORMS)[number];

export type KitFile = Exclude<TreeEntry, { type: "directory" }>;

export interface KitFiles {
  /** Below the kit's one directory, by path. Contents lie in `spool`. */
  readonly files: Map<string, KitFile>;
  /** Installed packages by where they lie, e.g. `node_modules/yaml`; the pinned Node is among them. */
  readonly packages: ReadonlyMap<string, NpmInput>;
  readonly nodePackage: NpmInput;
  /** The package whose library the kit carries for hosts without it. */
  readonly libatomic: DebianInput;
  readonly version: string;
  /** The commit's full id, and its time in RFC 3339. */
  readonly commit: string;
  readonly created: string;
  /** Tracked files in the checkout differ from the commit; their changes are not in the kit. */
  readonly isDirty: boolean;
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
  /** `hostLibraries`, but in tests. */
  readonly libraries: typeof hostLibraries;
  readonly onProgress: (detail: string) => void;
}

/**
 * @throws KIT_CHECKOUT_MISSING if `root` is no Git checkout with a commit; KIT_SOURCE_REFUSED for a link
 * among the sources or a lock without the Node package; RECIPE_MALFORMED for the lock; SOURCE_* as
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
  await addPackages(files, closure.packages, nodePackage, options);
  const libraries = await options.libraries(options.platform, options.spool, options.cacheDir);
  for (const [path, entry] of libraries.files) files.set(path, entry);
  files.set("node_modules/.bin/node", { type: "symlink", target: `../${nodeName}/bin/node` });
  return {
    files,
    packages: closure.packages,
    nodePackage,
    libatomic: libraries.libatomic,
    version,
    commit,
    created: time.toISOString().replace(".000Z", "Z"),
    isDirty,
  };
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
