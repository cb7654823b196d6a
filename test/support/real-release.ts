/**
 * Real signed releases of the appliance in compose/, for tests that install a site: built, signed and
 * trusted by the product's own verbs, from a copy of the working tree.
 *
 * A build takes a while, so what is made is kept in the tests' cache directory, under the digest of all that
 * it depends on, and found there by other test files and the next run. Everything appears by one rename, so
 * that a test that is killed leaves nothing half made, and of two that build the same at once the second
 * takes what the first has published.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse, parseDocument } from "yaml";
import { type CommandResult, sealift } from "./command-line.ts";
import { testCache } from "./peers.ts";

/**
 * `first` is 1.0.0, what compose/ is now. `next` is 1.1.0, an upgrade that works. The others are a 1.2.0 that
 * must not stay installed:
 * `unhealthy`: the gateway never becomes healthy. `slow`: the canary answers, but too late. `wrong`: the
 * canary names another release. `broken-migration`: the schema's migration fails after its first statement.
 */
export type ReleaseName = "first" | "next" | BrokenRelease;
export type BrokenRelease = "unhealthy" | "slow" | "wrong" | "broken-migration";

export interface RealRelease {
  readonly version: string;
  readonly digest: string;
  /** Absolute path of the signed bundle; other tests use it too, so it must not be changed. */
  readonly bundle: string;
}

/** A release trust whose three roles signed every real release, each with a key of its own. */
export interface RealTrust {
  /** For `--trust` and `trust import`. */
  readonly directory: string;
  /** SHA-256 of 1.root.json, as the publisher's paper has it. */
  readonly fingerprint: string;
}

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** What a copy needs to be built from. */
const COPIED = ["compose", "package.json", "package-lock.json"];
/** What else decides about the bytes of a release. */
const BUILDERS = ["bundles", "sbom", "test/support/real-release.ts"];
const ROLES = ["builder", "security", "release"] as const;
const KEPT = 3;
const HOUR_MS = 3_600_000;
const PREPARED = "SEALIFT_TEST_RELEASES";
const PASSWORD = { COSIGN_PASSWORD: "of throwaway keys" };

export async function realTrust(): Promise<RealTrust> {
  const directory = join(await releasesHome(), "keys", "trust");
  const fingerprint = createHash("sha256")
    .update(readFileSync(join(directory, "1.root.json")))
    .digest("hex");
  return { directory, fingerprint };
}

/**
 * Builds what `inOwnMachine` needs within, where there is no network to build from. Returns what must be in
 * the environment there.
 */
export async function prepareReleases(...names: readonly ReleaseName[]): Promise<Readonly<Record<string, string>>> {
  for (const name of names) await realRelease(name);
  return { [PREPARED]: await releasesHome() };
}

/** @throws what the verbs print, if a build fails */
export async function realRelease(name: ReleaseName): Promise<RealRelease> {
  const from = await releasesHome();
  const made = join(from, name);
  if (!existsSync(made)) await publish(made, (directory) => buildRelease(directory, name, from));
  const { digest } = JSON.parse(await readFile(join(made, "release.json"), "utf8")) as { digest: string };
  return { version: VERSIONS[name], digest, bundle: join(made, "bundle.tar") };
}

const VERSIONS: Readonly<Record<ReleaseName, string>> = {
  first: "1.0.0",
  next: "1.1.0",
  unhealthy: "1.2.0",
  slow: "1.2.0",
  wrong: "1.2.0",
  "broken-migration": "1.2.0",
};

/** Changes the copy of the working tree in `directory` into the release `name`. */
async function writeAppliance(directory: string, name: ReleaseName): Promise<void> {
  await makeFitForLoad(directory);
  if (name === "first") return;
  await writeNextAppliance(directory);
  if (name !== "next") await BREAK[name](directory);
}

/**
 * In every release here: a model that answers at once, and streams for STREAM_SECONDS, in the real one's
 * place (demo.test.ts and model.test.ts have the real one); and no limit to what one key may ask in a minute.
 */
async function makeFitForLoad(directory: string): Promise<void> {
  await editYaml(join(directory, COMPOSE_FILE), (set) => {
    set(["services", "model", "image"], "gateway");
    set(["services", "model", "entrypoint"], [NODE, "--eval", MODEL]);
    set(["services", "gateway", "environment", "REQUESTS_PER_MINUTE"], "1000000");
    set(["services", "gateway", "environment", "REQUESTS_AT_ONCE"], "512");
  });
}

export const STREAM_SECONDS = 30;

const MODEL = `const server = require("node:http").createServer(async (request, response) => {
  let text = "";
  for await (const piece of request) text += piece;
  const about = { id: "test", created: 1, model: "sealift-test-model" };
  if (request.method === "GET") return response.end(JSON.stringify({ object: "list", data: [{ id: about.model, object: "model", created: 1, owned_by: "test" }] }));
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
  if (!JSON.parse(text).stream) {
    const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: "whole" } }];
    response.setHeader("content-type", "application/json");
    return response.end(JSON.stringify({ ...about, object: "chat.completion", choices, usage }));
  }
  response.setHeader("content-type", "text/event-stream");
  const send = (value) => response.write("data: " + value + "\\n\\n");
  const chunk = (delta, finish_reason) => JSON.stringify({ ...about, object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason }] });
  for (let second = 0; second < ${STREAM_SECONDS} && !response.destroyed; second += 1) {
    send(chunk({ role: "assistant", content: "word " }, null));
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  send(chunk({}, "stop"));
  send("[DONE]");
  response.end();
}).listen(8080);
// Process 1 of a container is ended by no signal that it does not handle.
process.once("SIGTERM", () => {
  server.close(() => process.exit());
  setInterval(() => server.closeIdleConnections(), 100);
});`;

/**
 * All that 1.1.0 has and 1.0.0 has not:
 * - the schema has one more table, which only 1.1.0 knows of; with it the gateway's image has another digest
 *
 * A recipe's inputs must not change here: they are locked.
 */
export async function writeNextAppliance(directory: string): Promise<void> {
  await addMigration(directory, "next-notes", "CREATE TABLE app.next_notes (note text NOT NULL);\n");
}

const GATEWAY_RECIPE = "compose/images/gateway.yaml";
const COMPOSE_FILE = "compose/compose.yaml";
const MIGRATIONS = "compose/services/gateway/src/database/migrations";
const NODE = "/usr/bin/node";
const CANARY_WITHIN_MS = 3000;

const BREAK: Readonly<Record<BrokenRelease, (directory: string) => Promise<void>>> = {
  unhealthy: (directory) =>
    editYaml(join(directory, COMPOSE_FILE), (set) => {
      const check = {
        test: ["CMD", NODE, "--eval", "process.exit(1)"],
        interval: "1s",
        retries: 3,
        start_period: "2s",
      };
      set(["services", "gateway", "healthcheck"], check);
    }),
  slow: (directory) =>
    editYaml(join(directory, COMPOSE_FILE), (set) => {
      // The gateway itself as it is; only this one answer comes late, so that all other checks pass.
      const { canary } = readYaml(join(directory, COMPOSE_FILE))["x-sealift"] as { canary: { path: string } };
      set(["x-sealift", "canary", "withinMs"], CANARY_WITHIN_MS);
      const { Entrypoint } = readYaml(join(directory, GATEWAY_RECIPE))["config"] as { Entrypoint: string[] };
      const late = lateAnswer(canary.path, CANARY_WITHIN_MS * 10);
      set(["services", "gateway", "entrypoint"], [NODE, "--import", late, ...Entrypoint.slice(1)]);
    }),
  wrong: (directory) =>
    editYaml(join(directory, COMPOSE_FILE), (set) => set(["services", "gateway", "environment", "RELEASE"], "9.9.9")),
  "broken-migration": (directory) =>
    addMigration(directory, "broken", "CREATE TABLE app.half_done (id integer);\nSELECT 1 / 0;\n"),
};

/** A module, as a data: URL, that holds back every HTTP answer to `path`. */
function lateAnswer(path: string, delayMs: number): string {
  const source = `import { Server } from "node:http";
const { emit } = Server.prototype;
Server.prototype.emit = function (...event) {
  if (event[0] !== "request" || event[1].url !== ${JSON.stringify(path)}) return emit.apply(this, event);
  setTimeout(() => emit.apply(this, event), ${delayMs});
  return true;
};`;
  return `data:text/javascript;base64,${Buffer.from(source).toString("base64")}`;
}

async function addMigration(directory: string, name: string, sql: string): Promise<void> {
  const migrations = join(directory, MIGRATIONS);
  const number = String((await readdir(migrations)).length + 1).padStart(4, "0");
  await writeFile(join(migrations, `${number}-${name}.sql`), sql);
}

/** Changes members of a YAML file and leaves the rest of it as it is. */
async function editYaml(
  path: string,
  edit: (set: (where: readonly string[], value: unknown) => void) => void,
): Promise<void> {
  const document = parseDocument(await readFile(path, "utf8"));
  edit((where, value) => document.setIn(where, document.createNode(value)));
  await writeFile(path, document.toString({ lineWidth: 0 }));
}

function readYaml(path: string): Record<string, unknown> {
  return parse(readFileSync(path, "utf8")) as Record<string, unknown>;
}

async function buildRelease(directory: string, name: ReleaseName, from: string): Promise<void> {
  const tree = join(directory, "tree");
  await cp(join(from, "tree"), tree, { recursive: true });
  const lock = join(from, "lock.json");
  if (existsSync(lock)) await copyFile(lock, join(tree, "compose/appliance.lock.json"));
  await writeAppliance(tree, name);
  const bundle = join(directory, "bundle.tar");
  const appliance = ["--appliance", join(tree, "compose/appliance.yaml")];
  const build = () =>
    sealift(["bundle", "build", ...appliance, "--version", VERSIONS[name], "--out", bundle, "--json"]);
  let built = await build();
  // Debian takes a package away when it has a newer one, and a recipe may have changed a moment ago. That the
  // committed lock is fresh is for other tests to say.
  if (/SOURCE_PACKAGE_GONE|LOCK_STALE/.test(built.stderr)) {
    await refreshLock(appliance);
    await copyFile(join(tree, "compose/appliance.lock.json"), join(directory, "lock.json"));
    await rename(join(directory, "lock.json"), lock);
    built = await build();
  }
  const { digest } = JSON.parse(succeeded("bundle build", built)) as { digest: string };
  for (const role of ROLES) {
    const key = join(from, "keys", `${role}.key`);
    succeeded("bundle sign", await sealift(["bundle", "sign", bundle, "--role", role, "--key", key], PASSWORD));
  }
  await rm(tree, { recursive: true });
  await writeFile(join(directory, "release.json"), JSON.stringify({ digest }));
}

/** Makes the lock anew; `appliance` is `--appliance FILE`. @throws what the verb prints */
export async function refreshLock(appliance: readonly string[]): Promise<void> {
  const lock = ["bundle", "lock", ...appliance];
  let locked = await sealift(lock);
  // A test takes a mirror that stands still as it is: its signatures are checked all the same. Its suites were
  // copied within a day or so, and are valid for a week.
  const until = /valid until "([^"]+)"/.exec(locked.stderr)?.[1];
  if (until !== undefined) {
    const before = new Date(Date.parse(until) - 48 * HOUR_MS).toISOString().replace(/\.\d+Z$/, "Z");
    locked = await sealift(lock, { SEALIFT_DEBIAN_SNAPSHOT: before });
  }
  succeeded("bundle lock", locked);
}

let home: Promise<string> | undefined;

/**
 * The directory of this state of the tree: the copy in `tree`, in `keys` the keys and their trust, and what
 * was built. The same one for the life of the process, also while somebody edits the tree.
 */
function releasesHome(): Promise<string> {
  const prepared = process.env[PREPARED];
  home ??= prepared === undefined ? findHome() : Promise.resolve(prepared);
  return home;
}

async function findHome(): Promise<string> {
  const releases = join(testCache(), "releases");
  await mkdir(releases, { recursive: true });
  const copy = await mkdtemp(join(releases, "new-"));
  try {
    const tree = join(copy, "tree");
    await mkdir(tree);
    const filter = (path: string): boolean => basename(path) !== "node_modules";
    for (const name of COPIED) await cp(join(ROOT, name), join(tree, name), { recursive: true, filter });
    const found = join(releases, treeDigest(tree));
    if (existsSync(found)) {
      utimesSync(found, new Date(), new Date());
      return found;
    }
    await removeOld(releases);
    await makeKeys(join(copy, "keys"));
    // Another process may have been quicker.
    if (!existsSync(found)) await rename(copy, found);
    return found;
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function makeKeys(directory: string): Promise<void> {
  await mkdir(directory);
  for (const name of ["root", ...ROLES]) {
    succeeded("key generate", await sealift(["key", "generate", "--out", join(directory, name)], PASSWORD));
  }
  const roles = ROLES.flatMap((role) => ["--role", `${role}=${join(directory, `${role}.pub`)}@test-${role}`]);
  const root = ["--root-key", join(directory, "root.key"), "--appliance", "sealift-gateway"];
  succeeded(
    "trust init",
    await sealift(["trust", "init", "--out", join(directory, "trust"), ...root, ...roles], PASSWORD),
  );
}

/** Runs `make` in a new directory beside `path`, which gets that name when all is done. */
async function publish(path: string, make: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(`${path}.new-`);
  try {
    await make(directory);
    await rename(directory, path);
  } catch (cause) {
    await rm(directory, { recursive: true, force: true });
    if (!existsSync(path)) throw cause;
  }
}

/** Trees change often while somebody works; each costs hundreds of megabytes. */
async function removeOld(releases: string): Promise<void> {
  const homes = readdirSync(releases).map((name) => ({
    path: join(releases, name),
    used: statSync(join(releases, name)).mtimeMs,
  }));
  const old = homes.sort((a, b) => b.used - a.used).slice(KEPT);
  for (const { path, used } of old) {
    // Another run may still stand on one that was used just now.
    if (used < Date.now() - HOUR_MS) await rm(path, { recursive: true, force: true });
  }
}

/** Of what decides about the bytes of a release, and of the month: a release trust expires. */
function treeDigest(tree: string): string {
  const hash = createHash("sha256").update(new Date().toISOString().slice(0, 7));
  for (const [root, names] of [
    [tree, COPIED],
    [ROOT, BUILDERS],
  ] as const) {
    for (const path of names.flatMap((name) => filesBelow(root, name))) {
      const bytes = readFileSync(join(root, path));
      hash.update(`${path}\0${bytes.length}\0`).update(bytes);
    }
  }
  return hash.digest("hex").slice(0, 16);
}

function filesBelow(root: string, name: string): string[] {
  if (!statSync(join(root, name)).isDirectory()) return [name];
  return readdirSync(join(root, name))
    .sort()
    .flatMap((entry) => filesBelow(root, join(name, entry)));
}

function succeeded(what: string, { exit, stdout, stderr }: CommandResult): string {
  if (exit !== 0) throw new Error(`${what}: exit ${exit}\n${stdout}${stderr}`);
  return stdout;
}
