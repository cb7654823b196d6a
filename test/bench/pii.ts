/**
 * Throughput of the pii service's scanner in CPU time, in interleaved rounds in this one process: against one combined
 * regular expression that finds candidates and checks nothing (a bound: not a peer, but what scanning costs at
 * least), and against redact-pii where test/bench/peers is installed. Then time for
 * adversarial texts of 128 KiB and 1 MiB. Prints a table and writes test/evidence/pii-bench.json.
 *
 * The texts are those of presidio-research where SEALIFT_PII_DATASET names its synth_dataset_v2.json, else our
 * own samples and hard negatives.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { scanText } from "../../compose/services/pii/src/scan.ts";
import { errorCode } from "../../compose/services/service-kit/src/log.ts";
import { ADVERSARIAL } from "../compose/services/pii/adversarial.ts";
import { hardNegatives } from "../compose/services/pii/hard-negatives.ts";
import { SAMPLES } from "../compose/services/pii/samples.ts";

const ROUNDS = 7;
const LONG = 60_000;
const MIN_MS = 150;
/** V8 compiles in several steps. */
const WARM_UPS = 8;
const SHORT_ADVERSARIAL = 128 * 1024;
const LONG_ADVERSARIAL = 1024 * 1024;
const TRIES = 5;
const GROWTH_GOAL = 1.3;
const root = fileURLToPath(new URL("../../", import.meta.url));

type Work = (text: string) => unknown;

const CANDIDATES =
  /[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}|\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{1,4}){3,8}\b|\b(?:\d{1,3}\.){3}\d{1,3}\b|(?:\+|\b)\d(?:[ -]?\d){6,18}\b/g;

/** Of test/bench/peers/package.json, where `npm ci` was run. */
const peers = createRequire(new URL("peers/", import.meta.url));

function peerWork(): Work | string {
  try {
    const peer = peers("redact-pii") as { SyncRedactor: new () => { redact(text: string): string } };
    const redactor = new peer.SyncRedactor();
    return (text) => redactor.redact(text);
  } catch (cause) {
    return errorCode(cause);
  }
}

function peerVersion(): string {
  const text = readFileSync(new URL("peers/package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { dependencies: Record<string, string> }).dependencies["redact-pii"] ?? "unknown";
}

function corpus(): { readonly name: string; readonly texts: readonly string[] } {
  const path = process.env["SEALIFT_PII_DATASET"];
  if (path !== undefined) {
    const entries = JSON.parse(readFileSync(path, "utf8")) as { full_text: string }[];
    return { name: "presidio-research synth_dataset_v2", texts: entries.map((entry) => entry.full_text) };
  }
  const texts = [...SAMPLES, ...hardNegatives(1_500, 1)].map(({ text }) => text);
  return { name: "own samples and hard negatives", texts };
}

/** Milliseconds that this thread has been on a processor: what else the machine does counts little. */
function clock(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** Megabytes (of UTF-16 code units) a second. */
function speed(work: Work, texts: readonly string[]): number {
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  const start = clock();
  let passes = 0;
  do {
    for (const text of texts) work(text);
    passes++;
  } while (clock() - start < MIN_MS);
  return (length * passes) / 1000 / (clock() - start);
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const round = (value: number): number => Math.round(value * 100) / 100;

function compare(texts: readonly string[], works: Readonly<Record<string, Work>>) {
  for (let index = 0; index < WARM_UPS; index++) for (const work of Object.values(works)) speed(work, texts);
  const rounds = Array.from({ length: ROUNDS }, () =>
    Object.fromEntries(Object.entries(works).map(([name, work]) => [name, speed(work, texts)])),
  );
  const of = (name: string): number => median(rounds.map((item) => item[name] as number));
  const ratio = (name: string): number =>
    median(rounds.map((item) => (item["sealift"] as number) / (item[name] as number)));
  return Object.fromEntries(
    Object.keys(works).map((name) => [name, { megabytesPerSecond: round(of(name)), sealiftIs: round(ratio(name)) }]),
  );
}

/** Best of the tries so far, until it is within the goal: another process can only make a time longer. */
function growth(pattern: string): { readonly growth: number; readonly megabytesPerSecond: number } {
  const fill = (length: number): string => pattern.repeat(Math.ceil(length / pattern.length)).slice(0, length);
  const [short, long] = [fill(SHORT_ADVERSARIAL), fill(LONG_ADVERSARIAL)];
  let [ofShort, ofLong] = [0, 0];
  for (let index = 0; index < TRIES; index++) {
    ofShort = Math.max(ofShort, speed(scanText, [short]));
    ofLong = Math.max(ofLong, speed(scanText, [long]));
    if (index > 0 && ofShort / ofLong <= GROWTH_GOAL) break;
  }
  return { growth: round(ofShort / ofLong), megabytesPerSecond: round(ofLong) };
}

const { name, texts } = corpus();
const all = texts.join("\n").repeat(2);
const peer = peerWork();
const works = {
  sealift: scanText,
  "one combined regular expression": (text: string) => text.match(CANDIDATES),
  ...(typeof peer !== "string" && { "redact-pii": peer }),
};
const evidence = {
  commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
  cores: availableParallelism(),
  processor: cpus()[0]?.model ?? "unknown",
  texts: name,
  rounds: ROUNDS,
  "redact-pii": typeof peer === "string" ? `not measured: ${peer}` : peerVersion(),
  "short texts": compare(texts, works),
  "60 kB": compare([all.slice(0, LONG)], works),
  "1 MiB against 128 KiB, growth over linear": Object.fromEntries(
    Object.entries(ADVERSARIAL).map(([pattern, text]) => [pattern, growth(text)]),
  ),
};
mkdirSync(join(root, "test/evidence"), { recursive: true });
writeFileSync(join(root, "test/evidence/pii-bench.json"), `${JSON.stringify(evidence, null, 2)}\n`);
process.stdout.write(`${JSON.stringify(evidence, null, 2)}\n`);
