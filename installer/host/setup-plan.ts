/**
 * What `host setup` would do, as data: pure over facts that installer/host/setup-facts.ts gathered.
 *
 * A plan is made from what is there, so running it again after a cut makes a shorter plan, and a plan for
 * a host with a good engine is empty.
 */
import { engineError } from "../../compose/engine/error.ts";
import { compareDebianVersions, parseDebianVersion } from "../../sbom/debian-version.ts";
import { hostError } from "./error.ts";

/** Origin, label and codename are the archive's own words, empty before its lists were ever fetched. */
export interface AptTarget {
  readonly origin: string;
  readonly label: string;
  readonly uri: string;
  readonly codename: string;
  /** As the host's sources name them. */
  readonly suite: string;
  readonly component: string;
}

export interface DebFile {
  readonly path: string;
  readonly package: string;
  readonly version: string;
  readonly architecture: string;
  readonly sha256: string;
}

export interface SetupFacts {
  readonly root: boolean;
  /** ID, VERSION_ID and VERSION_CODENAME of /etc/os-release. */
  readonly os: { readonly id: string; readonly version: string; readonly codename: string };
  /** As dpkg calls it: amd64, arm64. Empty without dpkg. */
  readonly architecture: string;
  readonly engine:
    | { readonly state: "good"; readonly version: string; readonly compose: string }
    | { readonly state: "refused"; readonly code: string; readonly message: string }
    /** Nothing answers at the socket. */
    | { readonly state: "silent" };
  /** Installed packages by name → version; those that are only half installed are not in it. */
  readonly installed: ReadonlyMap<string, string>;
  /** The package manager was cut off. */
  readonly dpkgInterrupted: boolean;
  /** An absolute path, or undefined if no dockerd is on the host. */
  readonly dockerd: string | undefined;
  readonly systemd: boolean;
  /** The package manager may not start services (policy-rc.d). */
  readonly servicesDenied: boolean;
  readonly aptTargets: readonly AptTarget[];
  readonly archiveKeyring: boolean;
  /** Contents of the files that this plan may write, by path; absent ones are not in it. */
  readonly files: ReadonlyMap<string, string>;
  /** .deb files to install from, instead of fetching: those of --engine-debs, or those that this kit carries. */
  readonly debs: { readonly from: "option" | "kit"; readonly files: readonly DebFile[] } | undefined;
}

export type SetupStep =
  | { readonly kind: "repair-packages" }
  | { readonly kind: "write-file"; readonly path: string; readonly content: string }
  | { readonly kind: "update-lists" }
  | { readonly kind: "install"; readonly packages: readonly string[] }
  | { readonly kind: "install-debs"; readonly debs: readonly DebFile[] }
  | { readonly kind: "start-service" }
  | { readonly kind: "start-daemon"; readonly dockerd: string }
  | { readonly kind: "check" };

export interface SetupPlan {
  readonly steps: readonly SetupStep[];
  /** Lines for a person about what the steps mean. */
  readonly notes: readonly string[];
}

export const SOURCE_FILE = "/etc/apt/sources.list.d/sealift-engine.sources";
export const PIN_FILE = "/etc/apt/preferences.d/sealift-engine";
export const DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
export const DAEMON_LOG = "/var/log/sealift-dockerd.log";
const ENGINE_SUITE = "trixie";
const ENGINE_PACKAGES = ["docker.io", "docker-cli", "docker-compose"];
const COMMON_PACKAGES = ["iptables", "ca-certificates"];
/** Its ssh-keygen checks operators' signatures. */
const OPERATORS_PACKAGE = "openssh-client";

/** The packages that make an engine on this distribution, and whether they come from the newer suite. */
function packagesFor(os: SetupFacts["os"]): { readonly names: readonly string[]; readonly foreign: boolean } {
  switch (`${os.id} ${os.version}`) {
    case "debian 12":
      return { names: [...ENGINE_PACKAGES, ...COMMON_PACKAGES, OPERATORS_PACKAGE], foreign: true };
    case "debian 13":
      return { names: [...ENGINE_PACKAGES, ...COMMON_PACKAGES, OPERATORS_PACKAGE], foreign: false };
    case "ubuntu 24.04":
      return { names: ["docker.io", "docker-compose-v2", ...COMMON_PACKAGES, OPERATORS_PACKAGE], foreign: false };
    default:
      throw hostError("HOST_UNSUPPORTED", `host: got ${JSON.stringify(`${os.id} ${os.version}`)}`, {
        hints: [
          "the engine is set up on Debian 12, Debian 13 and Ubuntu 24.04",
          "elsewhere install Docker Engine 24 or newer with Compose 2.26 or newer, then run sealift doctor",
        ],
      });
  }
}

/**
 * @throws HOST_UNSUPPORTED | HOST_NOT_ROOT | HOST_SOURCES_UNKNOWN | HOST_DEBS_UNUSABLE, or the refusal of the
 * engine that is there and that no package of ours would replace
 */
export function planSetup(facts: SetupFacts): SetupPlan {
  const { engine } = facts;
  if (engine.state === "good") {
    const note = `Docker Engine ${engine.version} with Compose ${engine.compose} is there and good; nothing is changed`;
    return { steps: [], notes: [note] };
  }
  const { names, foreign } = packagesFor(facts.os);
  const ours = facts.installed.has("docker.io");
  const replaceable = ["ENGINE_TOO_OLD", "ENGINE_COMPOSE_MISSING", "ENGINE_COMPOSE_TOO_OLD", "ENGINE_CLI_MISSING"];
  if (engine.state === "refused" && !(ours && replaceable.includes(engine.code))) {
    throw engineError(engine.code as "ENGINE_TOO_OLD", engine.message, {
      hints: ["this engine is not from the distribution's packages, so Sealift does not touch it; remove it first"],
    });
  }
  if (!facts.root) throw hostError("HOST_NOT_ROOT", "setting up the engine needs root", { hints: ["run as root"] });

  const foreignEngine = facts.dockerd !== undefined && !ours && engine.state === "silent";
  const wanted = names.filter((name) => !facts.installed.has(name) || engine.state === "refused");
  const missing = foreignEngine ? [] : wanted;
  const steps: SetupStep[] = [];
  const notes: string[] = [];
  if (facts.dpkgInterrupted && missing.length > 0) steps.push({ kind: "repair-packages" });
  if (missing.length > 0 && facts.debs) {
    const hasOperators = facts.debs.files.some((deb) => deb.package === OPERATORS_PACKAGE);
    // Somebody's directory of packages for the engine may lack it: most hosts have it.
    const needed = hasOperators ? missing : missing.filter((name) => name !== OPERATORS_PACKAGE);
    if (needed.length > 0) steps.push({ kind: "install-debs", debs: usableDebs(facts.debs.files, needed, facts) });
    if (missing.includes(OPERATORS_PACKAGE) && !hasOperators) {
      notes.push(`${OPERATORS_PACKAGE} is not among them: bring it too, or no operator's signature can be checked`);
    }
    notes.push(
      facts.debs.from === "kit"
        ? "nothing is fetched; the packages are those of this kit, whose signature you checked before you unpacked it"
        : "nothing is fetched; nobody but you has checked these packages: compare their digests before you agree",
    );
  } else if (missing.length > 0) {
    if (foreign) {
      steps.push(...sourceFiles(facts, names));
      notes.push(
        `${ENGINE_PACKAGES.join(", ")} come from Debian 13 (${ENGINE_SUITE}); every other package of it is pinned away`,
      );
    }
    steps.push({ kind: "update-lists" }, { kind: "install", packages: missing });
  }
  if (foreignEngine) notes.push(`${facts.dockerd} is there and not from docker.io; it is only started`);
  if (engine.state === "refused") notes.push("the engine restarts, and running containers stop meanwhile");
  if (facts.systemd) {
    steps.push({ kind: "start-service" });
  } else {
    steps.push({ kind: "start-daemon", dockerd: facts.dockerd ?? "/usr/sbin/dockerd" });
    const why = facts.servicesDenied ? "policy-rc.d denies starting services" : "this host has no systemd";
    notes.push(`${why}: dockerd is started directly, logs to ${DAEMON_LOG} and is not started at the next boot`);
  }
  steps.push({ kind: "check" });
  return { steps, notes };
}

/** Those that the host lacks: what is there and as new stays, and nothing is ever made older. */
function usableDebs(debs: readonly DebFile[], missing: readonly string[], facts: SetupFacts): readonly DebFile[] {
  const { architecture, installed } = facts;
  const refuse = (problem: string): never => {
    throw hostError("HOST_DEBS_UNUSABLE", problem, {
      hints: ["a kit made by sealift kit build --engine has all of them, in engine/HOST"],
    });
  };
  const names = debs.map((deb) => deb.package);
  const lacking = missing.filter((name) => !names.includes(name));
  if (lacking.length > 0) refuse(`packages: no ${lacking.join(", ")} among them`);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) refuse(`packages: ${JSON.stringify(twice)} is there twice`);
  const other = debs.find((deb) => deb.architecture !== "all" && deb.architecture !== architecture);
  if (other) refuse(`packages: ${JSON.stringify(other.package)} is for ${other.architecture}, want ${architecture}`);
  return debs.filter((deb) => !isAsNew(installed.get(deb.package), deb.version));
}

function isAsNew(installed: string | undefined, wanted: string): boolean {
  const [have, want] = [
    installed === undefined ? undefined : parseDebianVersion(installed),
    parseDebianVersion(wanted),
  ];
  return have !== undefined && want !== undefined && compareDebianVersions(have, want) >= 0;
}

function sourceFiles(facts: SetupFacts, names: readonly string[]): SetupStep[] {
  const { aptTargets, os } = facts;
  const isFetched = aptTargets.some(({ origin }) => origin !== "");
  const main = aptTargets.find(({ origin, label, codename, suite, component }) =>
    isFetched
      ? origin === "Debian" && label === "Debian" && codename === os.codename
      : // Another's archive of these names would not be signed by Debian, which the file below asks of it.
        suite === os.codename && component === "main",
  );
  const hints = ["name a Debian archive in /etc/apt/sources.list.d, or give the packages: --engine-debs DIR"];
  // What goes into apt's files must be one line and an address that apt reads as one.
  if (!main || !/^(?:https?|file|cdrom|mirror[+a-z]*):[!-~]+$/.test(main.uri)) {
    throw hostError("HOST_SOURCES_UNKNOWN", "no Debian archive among this host's apt sources", { hints });
  }
  if (!facts.archiveKeyring) {
    throw hostError("HOST_SOURCES_UNKNOWN", `${DEBIAN_KEYRING} is not there`, {
      hints: ["apt-get install debian-archive-keyring"],
    });
  }
  const source = [
    "# Written by sealift host setup: Docker Engine of Debian 13 on Debian 12.",
    "# /etc/apt/preferences.d/sealift-engine pins away everything else of that suite.",
    "Types: deb",
    `URIs: ${main.uri}`,
    `Suites: ${ENGINE_SUITE}`,
    "Components: main",
    `Signed-By: ${DEBIAN_KEYRING}`,
    "",
  ].join("\n");
  const engine = names.filter((name) => ENGINE_PACKAGES.includes(name));
  const pin = [
    "# Written by sealift host setup. Without these lines apt would upgrade the host to the next Debian.",
    "Package: *",
    `Pin: release n=${ENGINE_SUITE}`,
    "Pin-Priority: -10",
    "",
    `Package: ${engine.join(" ")}`,
    `Pin: release n=${ENGINE_SUITE}`,
    "Pin-Priority: 990",
    "",
  ].join("\n");
  // The pin first: between the two, apt must not see the new suite without it.
  return [
    { path: PIN_FILE, content: pin },
    { path: SOURCE_FILE, content: source },
  ]
    .filter(({ path, content }) => facts.files.get(path) !== content)
    .map((file) => ({ kind: "write-file", ...file }));
}

/** One line for a person. */
export function stepText(step: SetupStep): string {
  switch (step.kind) {
    case "repair-packages":
      return "finish what the package manager was cut off in: dpkg --configure -a";
    case "write-file":
      return `write ${step.path}`;
    case "update-lists":
      return "update the package lists: apt-get update";
    case "install":
      return `install ${step.packages.join(", ")} with what they depend on, removing nothing`;
    case "install-debs":
      return `install ${step.debs.map((deb) => `${deb.package} ${deb.version}`).join(", ")} from the files given`;
    case "start-service":
      return "enable and start the service docker";
    case "start-daemon":
      return `start ${step.dockerd} in a session of its own`;
    case "check":
      return "check that the engine answers and that Sealift can use it";
  }
}
