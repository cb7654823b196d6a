/**
 * Images of four ecosystems whose lists are known without any scanner: made in steps on real layers, with
 * packages removed, replaced and downgraded on the way, and then asked by their own package managers what
 * is installed. Needs root, overlay, mmdebstrap, npm, python3, a Debian mirror and npm's registry.
 */
import { copyFileSync, mkdirSync, readdirSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { debianMirrors } from "../../bundles/source/recipe/debian-archive.ts";
import { OverlayRoot, run, skipWithoutOverlay } from "./overlay-root.ts";
import { requirePeer, skipWithout } from "./peers.ts";

export type Ecosystem = "deb" | "npm" | "pypi" | "rpm" | "maven";

export interface TruthImage {
  readonly name: string;
  /** Uncompressed archives, the lowest first. */
  readonly layers: readonly string[];
  /** A directory with the same unpacked, for tools that read no image; empty where it was not asked for. */
  readonly root: string;
  /** `name@version`, sorted, each once; an ecosystem that is missing here has no package in the image. */
  readonly truth: Readonly<Partial<Record<Ecosystem, readonly string[]>>>;
}

const SUITE = "bookworm";
/** As slim images are made. */
const SLIM = ["man/*", "locale/*", "doc/*"]
  .map((path) => `--dpkgopt=path-exclude=/usr/share/${path}`)
  // What is made here need not outlive a power cut.
  .concat("--dpkgopt=path-include=/usr/share/doc/*/copyright", "--dpkgopt=force-unsafe-io");
const APPLICATION = {
  express: "4.21.2",
  "@fastify/cors": "10.0.1",
  semver: "6.3.0",
  lodash: "4.17.20",
  left: "npm:left-pad@1.3.0",
};
/** Made here and installed by the image's own pip: names that are spelled in several ways, and versions that are. */
const WHEELS: readonly (readonly [name: string, version: string, requires: readonly string[]])[] = [
  ["Web_Frame", "3.0.3", ["zope.inter-face>=6", "req>=2", "absent; extra == 'more'"]],
  ["zope.inter_face", "6.4.post2", []],
  ["req", "2.31.0", ["idna"]],
  ["req", "2.32.3", ["idna"]],
  ["idna", "3.7", []],
  ["click", "8.1.7rc1", []],
  ["PyThing", "1!2.0+local.1", ["click"]],
];

/** Debian's own Java libraries, whose archives have Maven's coordinates. */
const JAVA = [
  "libcommons-lang3-java",
  "libcommons-io-java",
  "libgoogle-gson-java",
  "libjsoup-java",
  "libcommons-cli-java",
];

export function skipWithoutTruthImages(): string | false {
  return skipWithoutOverlay() || skipWithout("mmdebstrap");
}

/** In `work`, which must be empty. */
export async function makeTruthImages(work: string, isUnpacked = false): Promise<readonly TruthImage[]> {
  const [mirror = ""] = await debianMirrors("debian");
  const bootstrap = (name: string, packages: readonly string[]): OverlayRoot => {
    const directory = (kind: string): string => join(work, `${name}${kind}`);
    const include = packages.length > 0 ? [`--include=${packages.join(",")}`] : [];
    const options = ["--quiet", "--mode=root", "--variant=essential", ...SLIM, ...include];
    run(requirePeer("mmdebstrap"), [...options, SUITE, directory(""), mirror]);
    mkdirSync(directory("-steps"));
    return new OverlayRoot(directory(""), directory("-steps"));
  };
  const plain = bootstrap("plain", ["ca-certificates", "libatomic1", "libstdc++6", "nano", "python3", "python3-venv"]);
  const workshop = bootstrap("workshop", ["rpm", "python3", ...JAVA]);
  const place = (name: string): string => {
    mkdirSync(join(work, name));
    return join(work, name);
  };
  return [
    npmImage(plain.fork(place("npm")), work, isUnpacked),
    pythonImage(plain.fork(place("python")), work, isUnpacked),
    javaImage(plain.fork(place("java")), work, isUnpacked),
    rpmImage(workshop, isUnpacked),
  ];
}

/** What dpkg says is installed. */
function debTruth(root: OverlayRoot): string[] {
  return lines(root.ask("dpkg-query -W -f '${db:Status-Status} ${Package}@${Version}\\n' | sed -n 's/^installed //p'"));
}

function lines(text: string): string[] {
  return [...new Set(text.split("\n").filter((line) => line !== ""))].sort();
}

/** An application, npm itself, and Node.js; then packages that go, come back otherwise, and are replaced. */
function npmImage(root: OverlayRoot, work: string, isUnpacked: boolean): TruthImage {
  const [first, second] = [join(work, "npm-application"), join(work, "npm-update")];
  for (const [directory, dependencies] of [
    [first, APPLICATION],
    [second, { ...APPLICATION, semver: "7.6.3", lodash: "4.17.21" }],
  ] as const) {
    mkdirSync(directory);
    const specifications = Object.entries(dependencies).map(([name, version]) => `${name}@${version}`);
    run("npm", ["init", "--yes"], directory);
    run("npm", ["pkg", "set", "private=true", "--json"], directory);
    run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", ...specifications], directory);
  }
  const tool = join(work, "npm-tool");
  mkdirSync(tool);
  run(
    "npm",
    ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--global", "--prefix", tool, "npm@10.9.0"],
    work,
  );
  const program = realpathSync(process.execPath);
  root.step(
    "mkdir -p /usr/local/bin /srv; cp /mnt/node/node /usr/local/bin/node; cp -a /mnt/tool/. /usr/local/; cp -a /mnt/app /srv/app",
    { [join(program, "..")]: "/mnt/node", [tool]: "/mnt/tool", [first]: "/mnt/app" },
  );
  // The directory is made anew: an opaque one. The package of Debian leaves its configuration behind.
  root.step("rm -r /srv/app; cp -a /mnt/app /srv/app; dpkg --remove nano; rmdir /mnt/* || true", {
    [second]: "/mnt/app",
  });
  root.step(
    "rm -r /srv/app/node_modules/left; cd /srv/app; node /usr/local/lib/node_modules/npm/bin/npm-cli.js uninstall --offline --ignore-scripts left @fastify/cors; rm -rf /root/.npm",
  );
  const listed = (where: string): string =>
    `cd ${where}; node /usr/local/lib/node_modules/npm/bin/npm-cli.js ls --all --parseable --long`;
  const output = root.ask(`${listed("/srv/app")}; ${listed("/usr/local/lib")}`);
  // PATH:NAME@VERSION or PATH:ALIAS@npm:NAME@VERSION, and a remark where the package is not as wanted; the first line of each is the directory itself.
  const npm = lines(output).flatMap((line) => {
    const [path = "", named = "", real = ""] = line.split(":");
    if (!path.includes("/node_modules/")) return [];
    return [named.endsWith("@npm") ? real : named];
  });
  return {
    name: "debian-npm",
    layers: root.writeLayers(),
    root: isUnpacked ? root.copy() : "",
    truth: { deb: debTruth(root), npm: lines(npm.join("\n")) },
  };
}

const WRITE_WHEELS = `
import json, os, sys, zipfile
directory, wheels = sys.argv[1], json.loads(sys.argv[2])
for name, version, requires in wheels:
  stem = name.replace("-", "_") + "-" + version
  module = name.lower().replace(".", "_").replace("-", "_") + "_module.py"
  metadata = "Metadata-Version: 2.1\\nName: " + name + "\\nVersion: " + version + "\\n"
  metadata += "".join("Requires-Dist: " + one + "\\n" for one in requires)
  with zipfile.ZipFile(os.path.join(directory, stem + "-py3-none-any.whl"), "w") as wheel:
    wheel.writestr(module, "version = " + repr(version))
    wheel.writestr(stem + ".dist-info/METADATA", metadata)
    wheel.writestr(stem + ".dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(stem + ".dist-info/RECORD", module + ",,\\n" + stem + ".dist-info/METADATA,,\\n" + stem + ".dist-info/WHEEL,,\\n" + stem + ".dist-info/RECORD,,\\n")
`;

/** Two environments; one package is upgraded, one is uninstalled, and one of Debian is purged. */
function pythonImage(root: OverlayRoot, work: string, isUnpacked: boolean): TruthImage {
  const wheels = join(work, "wheels");
  mkdirSync(wheels);
  run("python3", ["-c", WRITE_WHEELS, wheels, JSON.stringify(WHEELS)]);
  const pip = (environment: string, ...args: readonly string[]): string =>
    `/opt/${environment}/bin/pip --no-cache-dir --disable-pip-version-check ${args.join(" ")}`;
  const offline = ["install", "--no-index", "--find-links", "/mnt/wheels"];
  root.step(`python3 -m venv /opt/one; ${pip("one", ...offline, "web-frame", "req==2.31.0", "pything")}`, {
    [wheels]: "/mnt/wheels",
  });
  root.step(
    `python3 -m venv /opt/two; ${pip("two", ...offline, "zope-inter-face", "click")}; ${pip("one", ...offline, "--upgrade", "req==2.32.3")}; ${pip("one", "uninstall", "--yes", "click")}; dpkg --purge nano`,
    { [wheels]: "/mnt/wheels" },
  );
  const ask =
    "import importlib.metadata as m, re\nfor d in m.distributions(): print(re.sub('[-_.]+', '-', d.metadata['Name']).lower() + '@' + d.version)";
  const output = root.ask(["one", "two"].map((name) => `/opt/${name}/bin/python -c "${ask}"`).join("; "));
  return {
    name: "debian-python",
    layers: root.writeLayers(),
    root: isUnpacked ? root.copy() : "",
    truth: { deb: debTruth(root), pypi: lines(output) },
  };
}

/** Debian's archives outside Debian's packages, one inside two others; the truth is what Python's zipfile reads. */
function javaImage(root: OverlayRoot, work: string, isUnpacked: boolean): TruthImage {
  const jars = join(work, "jars");
  mkdirSync(jars);
  const from = join(work, "workshop/usr/share/java");
  for (const name of readdirSync(from)) {
    if (name.endsWith(".jar")) copyFileSync(realpathSync(join(from, name)), join(jars, name));
  }
  const nest = `
import zipfile, glob
with zipfile.ZipFile("/srv/inner.war", "w") as war: war.write(glob.glob("/srv/lib/gson*.jar")[0], "WEB-INF/lib/gson.jar")
with zipfile.ZipFile("/srv/app.jar", "w", zipfile.ZIP_DEFLATED) as app: app.write("/srv/inner.war", "BOOT-INF/lib/inner.war")`;
  root.step("mkdir -p /srv/lib; cp /mnt/jars/*.jar /srv/lib/", { [jars]: "/mnt/jars" });
  root.step(`python3 -c '${nest}'; rm /srv/inner.war /srv/lib/gson*.jar /srv/lib/jsoup*.jar`);
  const ask = `
import glob, io, re, zipfile
def read(source):
  with zipfile.ZipFile(source) as archive:
    for name in archive.namelist():
      if re.search(r"META-INF/maven/[^/]+/[^/]+/pom.properties$", name):
        fields = dict(re.findall(r"^(groupId|artifactId|version)=(\\S+)", archive.read(name).decode(), re.M))
        print(fields["groupId"] + "/" + fields["artifactId"] + "@" + fields["version"])
      elif re.search(r"\\.(jar|war|ear)$", name): read(io.BytesIO(archive.read(name)))
for path in glob.glob("/srv/**/*.jar", recursive=True): read(path)`;
  const output = root.ask(`python3 - <<'END'\n${ask}\nEND`);
  return {
    name: "debian-java",
    layers: root.writeLayers(),
    root: isUnpacked ? root.copy() : "",
    truth: { deb: debTruth(root), maven: lines(output) },
  };
}

const SPECIFICATIONS = Array.from({ length: 24 }, (_, i) => ({
  name: `package${i}${i % 5 === 0 ? "-libs++" : ""}`,
  epoch: i % 4 === 0 ? i : undefined,
  version: ["1.0", "2.0~rc1", "3^git20260101", "20260101", "0.9.8zg"][i % 5] as string,
  release: `${i}.el9`,
}));

function specification(one: (typeof SPECIFICATIONS)[0], version: string): string {
  const needs = one.name === "package1" ? "Requires: /usr/share/package2/data\n" : "";
  return `Name: ${one.name}
${one.epoch === undefined ? "" : `Epoch: ${one.epoch}\n`}Version: ${version}
Release: ${one.release}
Summary: of a test
License: MIT
${needs}%description
of a test
%install
mkdir -p %{buildroot}/usr/share/${one.name}
echo ${one.name} ${version} >%{buildroot}/usr/share/${one.name}/data
%files
/usr/share/${one.name}/data
`;
}

/** A root of its own with rpm's database, made by Debian's rpm: packages installed, then some upgraded, some erased. */
function rpmImage(workshop: OverlayRoot, isUnpacked: boolean): TruthImage {
  const build = (name: string, text: string): string =>
    `cat >/tmp/${name}.spec <<'END'\n${text}END\nrpmbuild -bb --quiet --define "_topdir /tmp/rpm" --define "_build_id_links none" --target x86_64 /tmp/${name}.spec 2>/tmp/log || { cat /tmp/log; exit 1; }`;
  const first = SPECIFICATIONS.map((one) => build(one.name, specification(one, one.version))).join("\n");
  const second = SPECIFICATIONS.slice(0, 6)
    .map((one) => build(`${one.name}-new`, specification(one, `${one.version}.1`)))
    .join("\n");
  workshop.step(
    `mkdir -p /tmp; ${first}; mkdir /old; mv /tmp/rpm/RPMS/x86_64/*.rpm /old; ${second}; mkdir /new; mv /tmp/rpm/RPMS/x86_64/*.rpm /new; rm -r /tmp/*`,
  );
  const rpm = 'rpm --root /root2 --define "_dbpath /var/lib/rpm"';
  const root = "/root2/etc";
  const files = `mkdir -p ${root} /root2/var/lib/rpm; printf 'ID=fedora\\nVERSION_ID=40\\nPRETTY_NAME="Fedora 40"\\n' >${root}/os-release`;
  workshop.step(`${files}; ${rpm} --initdb; ${rpm} -i --nodeps /old/*.rpm`);
  workshop.step(`${rpm} -U --nodeps /new/*.rpm; ${rpm} -e --nodeps package7 package8`);
  const output = workshop.ask(`${rpm} -qa --qf '%{NAME}@%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\n'`);
  return {
    name: "rpm",
    layers: workshop.writeLayers("root2"),
    root: isUnpacked ? workshop.copy("root2") : "",
    truth: { rpm: lines(output.replaceAll("@0:", "@")) },
  };
}
