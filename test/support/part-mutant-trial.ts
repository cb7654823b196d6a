/**
 * One mutant of a bundle in media parts (part-mutants.ts) before the verifier, before `bundle repair`, and before the
 * verifier again. What may be allowed is decided by what lies on the disk, put together here and by nothing that Sealift
 * reads parts with: the bytes of a bundle that was signed, from the first to the last.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type Dirent, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import type { Judge, RepairAnswer, VerifyAnswer } from "./judge-process.ts";
import { requireDenied, requireHarmless } from "./judge-process.ts";
import { unmutated } from "./mutants.ts";
import { layPartMutant, type PartMutant, signedContents, unmutatedParts } from "./part-mutants.ts";

const { trustFiles } = unmutated();

export interface TrialResult {
  /** The code that refused, or "allowed". */
  readonly verified: string;
  /** The code that refused, "nothing to do" or "made again". */
  readonly repaired: string;
  /** As `verified`; "not asked" if repair refused. */
  readonly after: string;
  readonly ms: number;
  readonly megabytes: number;
}

/** Throws if a verdict or a repair is wrong. Leaves at `path` what repair left. */
export async function tryPartMutant(judge: Judge, path: string, mutant: PartMutant): Promise<TrialResult> {
  layPartMutant(path, mutant);
  const first = await judge.verify(path, trustFiles);
  const verified = requireRightVerdict(first, path);
  if (mutant.expected === "accepted") assert.equal(verified, "allowed");
  const before = snapshot(dirname(path));
  const repair = await judge.repair(path);
  const repaired = requireHonestRepair(repair, path, before);
  const costs = [first, repair];
  let after = "not asked";
  if ("repaired" in repair) {
    const second = await judge.verify(path, trustFiles);
    costs.push(second);
    after = requireRightVerdict(second, path);
  }
  if (mutant.expected === "repairable") assert.equal(after, "allowed", `${repaired}: ${messageOf(repair)}`);
  if (verified === "allowed" && "repaired" in repair && !mutant.maySpoil) assert.equal(after, "allowed");
  const ms = Math.max(...costs.map((one) => one.ms));
  return { verified, repaired, after, ms, megabytes: Math.max(...costs.map((one) => one.megabytes)) };
}

/**
 * The mutant on a medium that changes its mind: a file has the good bytes when it is read first and the mutant's when
 * it is read again, or the other way round. False if the mutant changes no file's bytes.
 */
export async function tryShifting(
  judge: Judge,
  path: string,
  mutant: PartMutant,
  isGoodFirst: boolean,
): Promise<boolean> {
  const good = new Map(unmutatedParts());
  const changed = mutant.entries.find(
    (entry): entry is readonly [string, Buffer] =>
      Buffer.isBuffer(entry[1]) && good.get(entry[0])?.equals(entry[1]) === false,
  );
  if (!changed) return false;
  const [name, bytes] = changed;
  const other = isGoodFirst ? bytes : (good.get(name) as Buffer);
  const lay = (without?: string): void => {
    const files = new Map(isGoodFirst ? good : mutant.entries);
    if (without !== undefined) files.delete(without);
    layPartMutant(path, { ...mutant, entries: [...files] });
    writeFileSync(`${path}.then`, other);
  };
  const then = { path: join(path, name), from: `${path}.then` };
  lay();
  const answer = await judge.verify(path, trustFiles, then);
  // The disk says nothing about what was read: that it is this release, and read as such, is what counts.
  if ("verdict" in answer && answer.verdict.decision === "allow") {
    assert.equal(answer.verdict.subject.digest, unmutated().digest);
  }
  // With a part missing there is something to make.
  const gone = [...good.keys()].find((one) => one.includes(".part") && one !== name);
  lay(gone);
  if ("repaired" in (await judge.repair(path, then))) requireRightVerdict(await judge.verify(path, trustFiles), path);
  return true;
}

/** Allowed only what was signed, denied only with a code and an exit of CLI.md that is no defect's. */
function requireRightVerdict(answer: VerifyAnswer, path: string): string {
  if ("refused" in answer) {
    requireRefusal(answer.refused, answer.exit);
    return answer.refused;
  }
  requireHarmless(answer.verdict);
  if (answer.verdict.decision !== "allow") return requireDenied(answer.verdict);
  const release = signedContents().get(contentOn(path));
  assert.notEqual(release, undefined, "allowed with other bytes than were signed");
  assert.equal(answer.verdict.subject.digest, release);
  return "allowed";
}

/** A repair says what was wrong, and one that refuses changes nothing. */
function requireHonestRepair(answer: RepairAnswer, path: string, before: readonly string[]): string {
  const after = snapshot(dirname(path));
  if ("refused" in answer) {
    requireRefusal(answer.refused, answer.exit);
    assert.deepEqual(after, before, "a repair that refused has changed something");
    return answer.refused;
  }
  const { missing, damaged, written } = answer.repaired;
  for (const file of written) assert.ok(file.startsWith(path + sep), `written outside: ${file}`);
  const touched = after.filter((line) => !before.includes(line));
  assert.ok(
    touched.every((line) => written.some((file) => line.endsWith(` ${file}`))),
    touched.join("\n"),
  );
  if (written.length === 0) return "nothing to do";
  assert.ok(missing.length + damaged.length > 0, "made again without a word");
  return "made again";
}

function requireRefusal(code: string, exit: number): void {
  assert.match(code, /^(?:LAYOUT|PARTS|OCI|RELEASE|TRUST|SIGNATURE)_/);
  assert.ok([3, 4, 5].includes(exit), `${code}: exit ${exit}`);
}

function messageOf(answer: RepairAnswer): string {
  return "refused" in answer ? answer.message : "";
}

function entriesIn(path: string): { readonly entry: Dirent; readonly at: string }[] {
  return readdirSync(path, { withFileTypes: true }).map((entry) => ({ entry, at: join(path, entry.name) }));
}

/** SHA-256 of all numbered files, by number, in a directory and the directories in it: `cat *.part*-of-* | sha256sum`. */
function contentOn(path: string): string {
  const all = entriesIn(path).flatMap((one) => (one.entry.isDirectory() ? entriesIn(one.at) : [one]));
  const numbered = all.flatMap(({ entry, at }) => {
    const [, number] = /^[a-z0-9].*\.part(\d\d\d?)-of-\d\d\d?$/i.exec(entry.name) ?? [];
    return number === undefined || !entry.isFile() ? [] : [{ number: Number(number), at }];
  });
  const hash = createHash("sha256");
  for (const { at } of numbered.sort((a, b) => a.number - b.number)) hash.update(readFileSync(at));
  return hash.digest("hex");
}

/** What each file below `path` is, and its bytes; sorted. What was left half done belongs to whoever repairs. */
function snapshot(path: string): string[] {
  return entriesIn(path)
    .filter(({ entry }) => !entry.name.endsWith(".partial"))
    .flatMap(({ entry, at }) => {
      if (entry.isDirectory()) return [`directory ${at}`, ...snapshot(at)];
      if (!entry.isFile()) return [`other ${at}`];
      return [`${createHash("sha256").update(readFileSync(at)).digest("hex")} ${at}`];
    })
    .sort();
}
