import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseAptTargets, parseInstalled, parseOsRelease } from "../../../installer/host/setup-facts.ts";
import {
  type AptTarget,
  type DebFile,
  PIN_FILE,
  planSetup,
  type SetupFacts,
  SOURCE_FILE,
  stepText,
} from "../../../installer/host/setup-plan.ts";

const archive = "http://archive.invalid/debian/";
const fresh: SetupFacts = {
  root: true,
  os: { id: "debian", version: "12", codename: "bookworm" },
  architecture: "amd64",
  engine: { state: "silent" },
  installed: new Map([["ca-certificates", "1"]]),
  dpkgInterrupted: false,
  dockerd: undefined,
  systemd: true,
  servicesDenied: false,
  aptTargets: [
    {
      origin: "Debian",
      label: "Debian",
      uri: archive,
      codename: "bookworm",
      suite: "bookworm",
      component: "main",
    },
  ],
  archiveKeyring: true,
  files: new Map(),
  debs: undefined,
};
const kinds = (facts: Partial<SetupFacts>): string[] =>
  planSetup({ ...fresh, ...facts }).steps.map((step) => step.kind);
const deb = (name: string): DebFile => ({
  path: `/d/${name}.deb`,
  package: name,
  version: "1",
  architecture: "amd64",
  sha256: "00",
});
const everything = ["docker.io", "docker-cli", "docker-compose", "iptables"];

describe("the plan of host setup", () => {
  it("pins the newer suite before it names it, on Debian 12", () => {
    const { steps } = planSetup(fresh);
    assert.deepEqual(kinds({}), ["write-file", "write-file", "update-lists", "install", "start-service", "check"]);
    const [pin, source, , install] = steps;
    assert.ok(
      pin?.kind === "write-file" && pin.path === PIN_FILE && /Package: \*\n.*\nPin-Priority: -10/.test(pin.content),
    );
    assert.ok(
      source?.kind === "write-file" && source.path === SOURCE_FILE && source.content.includes(`URIs: ${archive}\n`),
    );
    assert.ok(install?.kind === "install");
    assert.deepEqual(install.packages, [...everything, "openssh-client"]);
    assert.ok(steps.every((step) => stepText(step) !== ""));
  });

  it("knows the archive by the host's sources before its lists were ever fetched, and only then", () => {
    const unfetched = parseAptTargets(
      `$(ORIGIN)|$(LABEL)|http://other.invalid/|$(CODENAME)|bookworm|stable\n$(ORIGIN)|$(LABEL)|${archive}|$(CODENAME)|bookworm|main\n`,
    );
    const source = planSetup({ ...fresh, aptTargets: unfetched }).steps[1];
    assert.ok(source?.kind === "write-file" && source.content.includes(`URIs: ${archive}\n`));
    const other = { ...unfetched[1], origin: "Other", label: "Other", codename: "bookworm" } as AptTarget;
    assert.throws(() => kinds({ aptTargets: [other] }), { code: "HOST_SOURCES_UNKNOWN" });
  });

  it("takes the distribution's own packages on Debian 13 and Ubuntu 24.04", () => {
    const steps = ["update-lists", "install", "start-service", "check"];
    assert.deepEqual(kinds({ os: { id: "debian", version: "13", codename: "trixie" } }), steps);
    assert.deepEqual(kinds({ os: { id: "ubuntu", version: "24.04", codename: "noble" } }), steps);
  });

  it("does nothing where a good engine is, also on a system that it does not know", () => {
    const engine = { state: "good", version: "28.0.0", compose: "2.40.0" } as const;
    assert.deepEqual(kinds({ engine, os: { id: "rhel", version: "9", codename: "" }, root: false }), []);
  });

  it("goes on after a cut with what is left", () => {
    const files = new Map(
      planSetup(fresh).steps.flatMap((step): [string, string][] =>
        step.kind === "write-file" ? [[step.path, step.content]] : [],
      ),
    );
    assert.deepEqual(kinds({ files, dpkgInterrupted: true }).slice(0, 2), ["repair-packages", "update-lists"]);
    const installed = new Map([...everything, "ca-certificates", "openssh-client"].map((name) => [name, "1"]));
    assert.deepEqual(kinds({ files, installed, dockerd: "/usr/sbin/dockerd" }), ["start-service", "check"]);
  });

  it("starts the daemon itself where there is no systemd", () => {
    assert.deepEqual(kinds({ systemd: false }).slice(-2), ["start-daemon", "check"]);
  });

  it("only starts an engine that came from elsewhere", () => {
    assert.deepEqual(kinds({ dockerd: "/usr/bin/dockerd" }), ["start-service", "check"]);
  });

  it("replaces an engine of the distribution that is too old, and no other", () => {
    const engine = { state: "refused", code: "ENGINE_TOO_OLD", message: "old" } as const;
    assert.ok(kinds({ engine, installed: new Map([["docker.io", "20.10"]]) }).includes("install"));
    assert.throws(() => kinds({ engine }), { code: "ENGINE_TOO_OLD" });
    const podman = { state: "refused", code: "ENGINE_PODMAN", message: "podman" } as const;
    assert.throws(() => kinds({ engine: podman, installed: new Map([["docker.io", "26"]]) }), {
      code: "ENGINE_PODMAN",
    });
  });

  it("installs from files and fetches nothing", () => {
    const given = (...names: string[]) => ({ from: "option" as const, files: names.map(deb) });
    assert.deepEqual(kinds({ debs: given(...everything) }), ["install-debs", "start-service", "check"]);
    assert.throws(() => kinds({ debs: given("docker.io") }), { code: "HOST_DEBS_UNUSABLE" });
    assert.throws(() => kinds({ debs: given(...everything, "iptables") }), { code: "HOST_DEBS_UNUSABLE" });
    assert.throws(() => kinds({ debs: given(...everything), architecture: "arm64" }), { code: "HOST_DEBS_UNUSABLE" });
  });

  it("installs ssh-keygen from files that have it, also where nothing else is missing", () => {
    const debs = { from: "kit" as const, files: [...everything, "openssh-client"].map(deb) };
    const chosen = (installed: ReadonlyMap<string, string>) => {
      const { steps, notes } = planSetup({ ...fresh, installed, debs });
      assert.doesNotMatch(notes.join(), /not among them/);
      return steps.flatMap((step) => (step.kind === "install-debs" ? step.debs.map((one) => one.package) : []));
    };
    assert.deepEqual(chosen(fresh.installed), [...everything, "openssh-client"]);
    const there = new Map([...everything, "ca-certificates"].map((name) => [name, "1"]));
    assert.deepEqual(chosen(there), ["openssh-client"]);
  });

  it("makes no package of the host older, and says whose packages they are", () => {
    const files = [...everything, "libxtables12"].map(deb);
    const installed = new Map([
      ["ca-certificates", "1"],
      ["libxtables12", "2"],
    ]);
    const [step] = planSetup({ ...fresh, installed, debs: { from: "kit", files } }).steps;
    assert.ok(step?.kind === "install-debs");
    assert.deepEqual(
      step.debs.map((one) => one.package),
      everything,
    );
    const notes = (from: "kit" | "option") => planSetup({ ...fresh, debs: { from, files } }).notes.join();
    assert.match(notes("kit"), /of this kit/);
    assert.match(notes("option"), /nobody but you/);
    assert.match(notes("kit"), /openssh-client is not among them/);
    const there = new Map([...everything, "ca-certificates"].map((name) => [name, "1"]));
    const engine = { ...fresh, installed: there, debs: { from: "kit" as const, files } };
    assert.ok(
      !planSetup(engine).steps.some(({ kind }) => kind === "install-debs"),
      "nothing that the kit has is missing",
    );
  });

  it("refuses another system, a user who is not root, and sources that it cannot read", () => {
    assert.throws(() => kinds({ os: { id: "rhel", version: "9", codename: "" } }), { code: "HOST_UNSUPPORTED" });
    assert.throws(() => kinds({ root: false }), { code: "HOST_NOT_ROOT" });
    assert.throws(() => kinds({ aptTargets: [] }), { code: "HOST_SOURCES_UNKNOWN" });
    assert.throws(() => kinds({ archiveKeyring: false }), { code: "HOST_SOURCES_UNKNOWN" });
    const uri = "http://x.invalid/\nTrusted: yes";
    const aptTargets = [
      { origin: "Debian", label: "Debian", uri, codename: "bookworm", suite: "stable", component: "main" },
    ];
    assert.throws(() => kinds({ aptTargets }), { code: "HOST_SOURCES_UNKNOWN" });
  });
});

describe("the facts of host setup", () => {
  it("are read from what the host's tools print", () => {
    assert.deepEqual(parseOsRelease('ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'), fresh.os);
    assert.deepEqual(parseAptTargets(`Debian|Debian|${archive}|bookworm|bookworm|main\n\n`), fresh.aptTargets);
    const printed = "docker.io\t26\tinstalled\niptables\t1\thalf-configured\ndocker-cli\t\tnot-installed\n";
    assert.deepEqual([...parseInstalled(printed).keys()], ["docker.io"]);
  });
});
