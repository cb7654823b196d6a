/** The whole way of a release on one machine, by the product's own verbs. */

import { constants } from "node:fs";
import { copyFile, open, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { DEFAULT_SOCKET } from "../../compose/engine/engine.ts";
import { siteLogs } from "../audit/site-log.ts";
import { clientAuthorityPath } from "../site/secret-makers.ts";
import { statePaths } from "../site/state.ts";
import { DEMO_APPLIANCE, VERSIONS, writeAppliances } from "./appliances.ts";
import type { Front } from "./client.ts";
import { EARLIER_LACKS } from "./earlier-release.ts";
import { demoError } from "./error.ts";
import { askRelease, chat, type Offer } from "./governed.ts";
import { type LoadPart, startLoad } from "./load.ts";
import { demoState, type RemovedCounts } from "./removal.ts";
import type { Story } from "./story.ts";
import { type Ended, failed, PASSWORD, type Verbs } from "./verbs.ts";
import type { DemoRecord } from "./workplace.ts";

export interface Proof {
  readonly what: string;
  /** Proves it again, in the working directory; undefined where it takes the whole demo. */
  readonly command?: string;
}

export interface Journey {
  readonly story: Story;
  readonly verbs: Verbs;
  readonly record: DemoRecord;
  readonly proven: Proof[];
  readonly notShown: string[];
  /** Called with the site's id before anything of it is in the engine. */
  readonly onSite: (siteId: string) => void;
  /** Whether the engine may be installed. */
  readonly mayInstallEngine: () => Promise<boolean>;
}

export interface Arrived {
  readonly front: Front;
  readonly key: string | undefined;
}

const ROLES = ["builder", "security", "release"] as const;
const TRUST = ["--trust", "trust"];
const OPERATOR = "DEMO-operator";
const SITE = ["--state", "state"];
const BY_OPERATOR = ["--key", OPERATOR, ...SITE];
const HOUR_MS = 3_600_000;

const bundleOf = (version: string): string => `appliance-${version}.tar`;

/** Leaves the appliance running at the release before. @throws DEMO_… | Interrupted */
export async function travel(journey: Journey): Promise<Arrived> {
  const { story } = journey;
  await story.step("Is this host fit for it?", () => lookAtHost(journey));
  await story.step("Throwaway keys, each marked DEMO", () => makeKeys(journey));
  await story.step(`Build ${VERSIONS.earlier} and ${VERSIONS.later}`, () => buildReleases(journey));
  await story.step("Three roles sign each release", () => signReleases(journey));
  await story.step("The reviewer verifies", () => verifyReleases(journey));
  const siteId = await story.step("A site of its own, with an operator", () => makeSite(journey));
  const arrived = await story.step(`Install ${VERSIONS.earlier}`, () => install(journey));
  const before = await story.step("Ask it something", () => askIt(journey, arrived));
  await story.step(`Upgrade to ${VERSIONS.later} under load`, () => upgrade(journey, arrived, before));
  const after = await story.step(`Ask ${VERSIONS.later} the same`, () => askIt(journey, arrived));
  compareOffers(journey, before, after);
  await story.step("Roll back, under load too", () => rollBack(journey, arrived, after));
  await story.step("What was recorded", () => verifyRecords(journey, siteId));
  return arrived;
}

interface DoctorReport {
  readonly findings: readonly {
    readonly check: string;
    readonly status: string;
    readonly message: string;
    readonly fix?: string;
  }[];
}

async function lookAtHost(journey: Journey): Promise<void> {
  const { story, verbs } = journey;
  let report = (await verbs.sealift(["doctor"], [0, 4])) as DoctorReport;
  if (failuresOf(report).some(({ fix }) => fix?.includes("host setup"))) {
    tellHost(story, report);
    if (!(await journey.mayInstallEngine())) {
      throw demoError("DEMO_HOST_NOT_READY", "no usable Docker Engine, and nobody said that it may be installed", {
        hints: ["./sealift demo --yes   installs it without asking, or ./sealift host setup by itself; both as root"],
      });
    }
    await verbs.sealift(["host", "setup", "--yes"]);
    story.fact("Docker Engine is installed and runs; it stays when the demo is removed");
    report = (await verbs.sealift(["doctor"], [0, 4])) as DoctorReport;
  }
  tellHost(story, report);
  const failures = failuresOf(report);
  if (failures.length > 0) throw notReady(failures.map(({ check }) => check).join(", "));
}

function failuresOf({ findings }: DoctorReport): DoctorReport["findings"] {
  return findings.filter(({ status }) => status === "fail");
}

function tellHost(story: Story, report: DoctorReport): void {
  const { findings } = report;
  const count = (status: string): number => findings.filter((one) => one.status === status).length;
  story.fact(`${count("pass")} checks passed, ${count("fail")} failed, ${count("not-checked")} not checked`);
  const engine = findings.find(({ check, status }) => check === "engine" && status === "pass");
  if (engine) story.fact(`engine ${engine.message}`);
  for (const { check, message, fix } of failuresOf(report)) story.fact(`${check}: ${message}. Fix: ${fix}`);
}

function notReady(what: string): Error {
  return demoError("DEMO_HOST_NOT_READY", what, {
    hints: ["./sealift doctor   says more, with a fix for each"],
  });
}

async function makeKeys({ story, verbs }: Journey): Promise<void> {
  story.explain(`The password of each is ${PASSWORD}: they protect nothing. In earnest each is made by its holder.`);
  for (const name of ["root", ...ROLES]) await verbs.sealift(["key", "generate", "--out", `DEMO-${name}`]);
  await verbs.program("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", OPERATOR, "-f", OPERATOR]);
  const roles = ROLES.flatMap((role) => ["--role", `${role}=DEMO-${role}.pub@DEMO-${role}`]);
  const root = ["--root-key", "DEMO-root.key", "--appliance", DEMO_APPLIANCE];
  await verbs.sealift(["trust", "init", "--out", "trust", ...root, ...roles]);
  story.fact("who may sign what is written down in trust/, signed by the root key");
}

async function buildReleases(journey: Journey): Promise<void> {
  const { story, record } = journey;
  await writeAppliances(record.workdir);
  story.explain(`${VERSIONS.later} is this checkout's compose/; ${VERSIONS.earlier} is a copy of it without:`);
  story.fact(EARLIER_LACKS);
  story.explain(`Both are named ${DEMO_APPLIANCE}. What is fetched: locked Debian and npm packages, by digest.`);
  await build(journey, VERSIONS.later);
  await build(journey, VERSIONS.earlier);
}

async function build({ story, verbs, record }: Journey, version: string): Promise<void> {
  const args = ["bundle", "build", "--appliance", `${version}/compose/appliance.yaml`];
  const command = [...args, "--version", version, "--out", bundleOf(version)];
  let ended = await verbs.attempt(command);
  const stale = /SOURCE_PACKAGE_GONE|LOCK_STALE/.exec(ended.stderr)?.[0];
  if (ended.exit !== 0 && stale !== undefined) {
    story.fact(
      stale === "LOCK_STALE"
        ? "the lock is older than a recipe of this checkout: it is made anew, in the copies only"
        : "the archive has newer packages than the lock: it is made anew, in the copies only",
    );
    await refreshLock(story, verbs, version);
    for (const other of Object.values(VERSIONS).filter((one) => one !== version)) {
      const lock = (of: string): string => join(record.workdir, of, "compose/appliance.lock.json");
      await copyFile(lock(version), lock(other));
    }
    ended = await verbs.attempt(command);
  }
  if (ended.exit !== 0) throw failed("sealift bundle build", ended);
  const { digest, payloadBytes } = JSON.parse(ended.stdout) as { digest: string; payloadBytes: number };
  story.fact(`${digest.slice(0, 19)}…, ${Math.round(payloadBytes / 1e6)} MB of layers and files`);
}

/** A mirror that stands still is taken as it was: its signatures are checked all the same. */
async function refreshLock(story: Story, verbs: Verbs, version: string): Promise<void> {
  const command = ["bundle", "lock", "--appliance", `${version}/compose/appliance.yaml`];
  let locked: Ended = await verbs.attempt(command);
  const until = /valid until \\?"([^"\\]+)/.exec(locked.stderr)?.[1];
  if (locked.exit !== 0 && until !== undefined) {
    story.fact(
      `this host's mirror stands still: its lists were valid until ${until}. A demo takes them; they are signed`,
    );
    const time = new Date(Date.parse(until) - 48 * HOUR_MS).toISOString().replace(/\.\d+Z$/, "Z");
    locked = await verbs.attempt(command, { SEALIFT_DEBIAN_SNAPSHOT: time });
  }
  if (locked.exit !== 0) throw failed("sealift bundle lock", locked);
}

async function signReleases({ story, verbs }: Journey): Promise<void> {
  story.explain("In earnest each key has a machine of its own, which needs to see only the digest.");
  for (const version of Object.values(VERSIONS)) {
    for (const role of ROLES) {
      await verbs.sealift(["bundle", "sign", bundleOf(version), "--role", role, "--key", `DEMO-${role}.key`]);
    }
  }
}

interface Judged {
  readonly decision: string;
  readonly findings: readonly { readonly status: string; readonly code?: string | null }[];
}

async function verifyReleases({ story, verbs, proven, record }: Journey): Promise<void> {
  for (const version of Object.values(VERSIONS)) {
    const { decision, findings } = (await verbs.sealift(["verify", bundleOf(version), ...TRUST])) as Judged;
    const count = (status: string): number => findings.filter((one) => one.status === status).length;
    story.fact(`${decision}: ${count("pass")} findings passed, ${count("not-checked")} not checked`);
  }
  proven.push({
    what: "every byte of both bundles is accounted for and signed by three roles",
    command: `sealift verify ${bundleOf(VERSIONS.later)} --trust trust`,
  });
  const changed = "changed.tar";
  await flipOneBit(join(record.workdir, bundleOf(VERSIONS.later)), join(record.workdir, changed));
  story.explain("The same bundle with one bit changed in the middle:");
  const { decision, findings } = (await verbs.sealift(["verify", changed, ...TRUST], [3])) as Judged;
  story.fact(`${decision}: ${findings.find(({ status }) => status === "fail")?.code ?? "refused"}`);
  await rm(join(record.workdir, changed));
  proven.push({ what: "a bundle with one bit changed is denied" });
}

async function flipOneBit(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_FICLONE);
  const file = await open(to, "r+");
  try {
    const middle = Math.floor((await file.stat()).size / 2);
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, middle);
    byte[0] = (byte[0] ?? 0) ^ 1;
    await file.write(byte, 0, 1, middle);
  } finally {
    await file.close();
  }
}

async function makeSite({ story, verbs, record, onSite }: Journey): Promise<string> {
  const at = (name: string): string => join(record.workdir, name);
  const publicKey = (await readFile(at(`${OPERATOR}.pub`), "utf8")).trim();
  await writeFile(at("operators"), `${OPERATOR} namespaces="sealift-authorization" ${publicKey}\n`);
  story.explain("The file operators names the one person who may move this site, with an SSH key.");
  const { siteId } = (await verbs.sealift(["site", "init", "--operators", "operators", ...SITE])) as { siteId: string };
  onSite(siteId);
  const shown = (await verbs.sealift(["trust", "show", "trust"])) as { rootFingerprint: string };
  story.explain("The fingerprint comes on paper, and this pins the publisher's root key:");
  await verbs.sealift(["trust", "import", "trust", "--fingerprint", shown.rootFingerprint, ...BY_OPERATOR]);
  story.fact(`site ${siteId}: containers, networks and volumes of it begin with sealift-${siteId.slice(0, 8)}`);
  return siteId;
}

async function install({ story, verbs, record, proven }: Journey): Promise<Arrived> {
  const port = await freePort();
  const config = { clientAddress: "127.0.0.1", clientPort: port };
  await writeFile(join(record.workdir, "config.json"), `${JSON.stringify(config)}\n`);
  story.explain(`config.json says where clients reach it: 127.0.0.1:${port}, which was free.`);
  const args = ["install", bundleOf(VERSIONS.earlier), "--config", "config.json", ...BY_OPERATOR];
  const { credentials } = (await verbs.sealift(args)) as { readonly credentials: readonly string[] };
  const { state, front, containers } = (await verbs.sealift(["status", ...SITE])) as {
    readonly state: string;
    readonly front: { readonly address: string } | null;
    readonly containers: readonly { readonly service: string }[];
  };
  if (state !== "healthy" || !front) throw demoError("DEMO_STEP_FAILED", `the site is ${state} after install`);
  story.fact(`healthy: ${containers.map(({ service }) => service).join(", ")}; clients: ${front.address}`);
  proven.push({
    what: "it runs from the bundle alone: install found each container to be the signed image, as rendered",
    command: "sealift status --state state",
  });
  const key = credentials.map(apiKeyOf).find((one) => one !== undefined);
  if (key !== undefined) story.fact("install showed the first API key, once; nothing keeps it");
  return { front: { address: front.address, authority: await authorityOf(record) }, key };
}

function apiKeyOf(shown: string): string | undefined {
  try {
    const { kind, key } = JSON.parse(shown) as { readonly kind?: unknown; readonly key?: unknown };
    return kind === "api-key" && typeof key === "string" ? key : undefined;
  } catch {
    return undefined;
  }
}

/** What clients of the site must trust, if it speaks TLS. */
async function authorityOf(record: DemoRecord): Promise<string | undefined> {
  try {
    return await readFile(clientAuthorityPath(statePaths(demoState(record))), "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw cause;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function askIt(journey: Journey, { front, key }: Arrived): Promise<Offer> {
  const { offer, proven, notShown } = await askRelease(journey.story, front, key);
  for (const what of proven) if (!journey.proven.some((one) => one.what === what)) journey.proven.push({ what });
  for (const what of notShown) if (!journey.notShown.includes(what)) journey.notShown.push(what);
  return offer;
}

function compareOffers({ proven, notShown }: Journey, before: Offer, after: Offer): void {
  if (before.usageStatus === 404 && after.usageStatus === 200) {
    proven.push({ what: `${VERSIONS.later} can do what ${VERSIONS.earlier} could not: GET /v1/usage` });
  } else {
    notShown.push(`a feature that only ${VERSIONS.later} has: clients see nothing but another version`);
  }
}

async function upgrade(journey: Journey, arrived: Arrived, offer: Offer): Promise<void> {
  await underLoad(journey, arrived, offer, ["upgrade", bundleOf(VERSIONS.later), ...BY_OPERATOR]);
  await requireRelease(journey, VERSIONS.later);
}

async function rollBack(journey: Journey, arrived: Arrived, offer: Offer): Promise<void> {
  journey.story.explain("From the site's own store: the medium is not needed, and the data stays.");
  await underLoad(journey, arrived, offer, ["rollback", "--to", VERSIONS.earlier, ...BY_OPERATOR]);
  await requireRelease(journey, VERSIONS.earlier);
}

/** Four clients ask for health all the time, and one for chat completions where there are any. */
async function underLoad(
  { story, verbs, proven }: Journey,
  { front, key }: Arrived,
  { model }: Offer,
  args: readonly string[],
): Promise<void> {
  const parts: LoadPart[] = [{ question: { path: "/healthz" }, clients: 4, pauseMs: 25 }];
  if (model !== undefined) {
    const question = { path: "/v1/chat/completions", key, body: chat(model, "Go on.") };
    parts.push({ question, clients: 1, pauseMs: 500 });
  }
  const load = startLoad(front, parts);
  let report: Awaited<ReturnType<typeof load.stop>>;
  try {
    await verbs.sealift(args);
  } finally {
    report = await load.stop();
  }
  const by = Object.entries(report.releases).map(([release, count]) => `${count} by ${release}`);
  story.fact(`${report.sent} requests meanwhile, ${report.lost} lost; answered: ${by.join(", ")}`);
  story.fact(`the slowest answer took ${report.slowestMs} ms`);
  if (report.lost > 0) throw demoError("DEMO_STEP_FAILED", `${args[0]}: lost requests: ${report.reasons.join("; ")}`);
  proven.push({ what: `${args[0]} lost none of ${report.sent} requests` });
}

async function requireRelease({ verbs, story }: Journey, version: string): Promise<void> {
  const { state, current } = (await verbs.sealift(["status", ...SITE])) as {
    readonly state: string;
    readonly current: { readonly version: string; readonly colour: string } | null;
  };
  if (state !== "healthy" || current?.version !== version) {
    throw demoError("DEMO_STEP_FAILED", `the site is ${state} at ${current?.version}, want ${version}`);
  }
  story.fact(`${state}: ${version} in ${current.colour}`);
}

async function verifyRecords(journey: Journey, siteId: string): Promise<void> {
  const { story, verbs, proven, notShown, record } = journey;
  const ledger = (await verbs.sealift(["ledger", "verify", ...SITE])) as {
    readonly authorizations: number;
  };
  story.fact(`the site's ledger holds: ${ledger.authorizations} authorizations of the operator, verified again`);
  proven.push({
    what: "each change of the site was authorized by its operator's key, and is in the ledger",
    command: "sealift ledger verify --state state",
  });
  const socket = { socketPath: DEFAULT_SOCKET };
  const [audit] = await siteLogs(socket, { siteId, paths: statePaths(demoState(record)) });
  if (!audit) {
    story.fact("audit log: not shown, the release that was installed has no audit service");
    notShown.push("the audit log: the release that was installed has no audit service");
    return;
  }
  const log = (await verbs.sealift(["audit", "verify", "--checkpoint", ...SITE])) as {
    readonly entries: number;
    readonly behindCheckpoint: number;
  };
  const since = log.behindCheckpoint > 0 ? `, ${log.behindCheckpoint} came since` : "";
  const entries = `${log.entries} entries under its signed checkpoint${since}`;
  story.fact(`the audit log holds: ${entries}; checked from its directory alone`);
  proven.push({
    what: `the audit log is whole: ${entries}`,
    command: "sealift audit verify --state state",
  });
}

/** As an operator would, and then what is left is counted. */
export async function uninstall({ verbs }: Journey): Promise<void> {
  await verbs.sealift(["uninstall", "--purge-data", ...BY_OPERATOR]);
}

export function removedText({ containers, volumes, networks, images }: RemovedCounts): string {
  return `${containers} containers, ${volumes} volumes, ${networks} networks and ${images} images`;
}
