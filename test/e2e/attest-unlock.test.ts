/** The three ways between a site and a verifier's machine, by the commands and by files alone, as a courier carries them. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, writeSignedBundle, writeTrustFiles } from "../support/signed-bundle.ts";
import { LEAST_POLICY } from "../verify/attestation/evidence.ts";

const SKIP = existsSync("/dev/shm") ? false : "this machine has no /dev/shm";
const UNLOCK_KEY = "thirty-two bytes of a site's key";
const digestOf = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

interface Story {
  /** A file of the verifier's machine, of the site's side, or on the medium. */
  readonly at: (name: string) => string;
  /** Runs the command; its outcome is checked, its whole output comes back. */
  readonly run: (want: number, ...words: readonly string[]) => Promise<string>;
  /** The same for a site: `state` names its directory. */
  readonly on: (state: string, want: number, ...words: readonly string[]) => Promise<string>;
  readonly release: string;
  readonly fingerprint: string;
}

async function begin(t: TestContext): Promise<Story> {
  const directory = await scratch(t);
  const run = mkdtempSync("/dev/shm/sealift-test-");
  t.after(() => rmSync(run, { recursive: true, force: true }));
  const at = (name: string): string => (name.startsWith("run") ? join(run, name) : join(directory, name));
  const runOne: Story["run"] = async (want, ...words) => {
    const { exit, stdout, stderr } = await sealift(words);
    assert.equal(exit, want, `${words.join(" ")}: ${stdout}${stderr}`);
    return stdout + stderr;
  };
  for (const name of ["alice", "vera"]) {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", at(name)]);
  }
  const line = (name: string, namespace: string): string => {
    const [type, base64] = readFileSync(at(`${name}.pub`), "utf8").split(" ");
    return `${name} namespaces="${namespace}" ${type} ${base64}\n`;
  };
  writeFileSync(at("operators"), line("alice", "sealift-authorization"));
  writeFileSync(at("verifiers"), line("vera", "sealift-attestation"));
  writeFileSync(at("unlock.key"), UNLOCK_KEY);
  const bundle = signedBundle({ now: new Date() });
  await mkdir(at("medium"));
  await writeSignedBundle(at("medium/bundle.tar"), bundle);
  await writeTrustFiles(at("trust"), bundle.trustFiles);
  return {
    at,
    run: runOne,
    on: (state, want, ...words) => {
      const runs = ["collect", "unseal", "simulate"].includes(words[1] ?? "") ? ["--run", at(`run-${state}`)] : [];
      return runOne(want, ...words, "--state", at(state), ...runs);
    },
    release: bundle.small.release.descriptor.digest,
    fingerprint: execFileSync("sha256sum", [at("trust/1.root.json")], { encoding: "utf8" }).slice(0, 64),
  };
}

async function makeSite({ at, on, fingerprint }: Story, state: string): Promise<void> {
  await on(state, 0, "site", "init", "--operators", at("operators"));
  await on(state, 0, "trust", "import", at("trust"), "--fingerprint", fingerprint, "--key", at("alice"));
}

async function enrol({ at, on }: Story, state: string, version: number, attestation: object): Promise<void> {
  const acceptNotChecked = ["cage", "scan", "rebuilt", "revocation", "attestation"];
  const policy = { schemaVersion: 1, name: "site", version, attestation, acceptNotChecked };
  writeFileSync(at(`site-policy-${state}-${version}.json`), JSON.stringify(policy));
  await on(state, 0, "policy", "import", at(`site-policy-${state}-${version}.json`), "--key", at("alice"));
}

async function appears(path: string): Promise<void> {
  for (let i = 0; i < 300 && !existsSync(path); i += 1) await sleep(100);
  assert.ok(existsSync(path), path);
}

/** A simulated machine, which waits for its challenge: its policy is there, its answer is yet to come. */
async function machine(story: Story, state: string, name: string, ...more: readonly string[]) {
  const { at, on } = story;
  const answered = on(
    state,
    0,
    "attest",
    "simulate",
    "--out",
    at(name),
    "--challenge",
    at(`${name}.challenge`),
    ...more,
  );
  await Promise.race([appears(at(`${name}/policy.json`)), answered]);
  return { policy: at(`${name}/policy.json`), answered };
}

/** A challenge to the machine `name` about this site now, and what the machine said of its host key. */
async function ask(story: Story, state: string, name: string, policy: string, answered: Promise<string>) {
  const { at, run, on, release } = story;
  await on(state, 0, "ledger", "export", "--head", "--out", at(`${name}.head`));
  await run(
    0,
    ...["attest", "challenge", "--policy", policy, "--release", release, "--head", at(`${name}.head`)],
    ...["--out", at(`${name}.challenge`)],
  );
  const said = await answered;
  return /host key (sha256:[0-9a-f]{64})/.exec(said)?.[1] ?? assert.fail(said);
}

const files = ({ at }: Story, name: string, policy: string): string[] => [
  ...["--challenge", at(`${name}.challenge`), "--evidence", at(`${name}/evidence.json`)],
  ...["--collateral", at(`${name}/collateral`), "--policy", policy],
];
const unlock = (story: Story, name: string, policy: string, hostKey: string, out: string): string[] => [
  ...["attest", "unlock", ...files(story, name, policy), "--host-key", hostKey],
  ...["--unlock-key", story.at("unlock.key"), "--key", story.at("vera"), "--out", story.at(out)],
];

test("challenge, evidence and release go the three ways; what is simulated is spent, recorded and allows nothing", {
  skip: SKIP,
}, async (t) => {
  const story = await begin(t);
  const { at, run, on } = story;
  await makeSite(story, "state");
  await on("state", 0, "verify", at("medium/bundle.tar"));
  const { policy, answered } = await machine(story, "state", "sim");
  const attestation = {
    mode: "required",
    policy: digestOf(readFileSync(policy)),
    verifiers: [readFileSync(at("verifiers"), "utf8").trim()],
  };
  await enrol(story, "state", 1, attestation);
  assert.match(await on("state", 3, "verify", at("medium/bundle.tar")), /\[ATTEST_REQUIRED\]/);
  assert.match(await on("state", 4, "status"), /note: ATTEST_REQUIRED/);
  const denied = await on("state", 3, "install", at("medium/bundle.tar"), "--key", at("alice"));
  assert.match(denied, /ATTEST_REQUIRED/, "denied before an engine is even looked for");

  const hostKey = await ask(story, "state", "sim", policy, answered);
  const other = `sha256:${"0".repeat(64)}`;
  assert.match(await run(3, ...unlock(story, "sim", policy, other, "none")), /ATTEST_HOST_KEY_OTHER/);
  const unlocked = await run(3, ...unlock(story, "sim", policy, hostKey, "release"));
  assert.match(unlocked, /SIMULATED – NOT AMD[\s\S]*boot +measured[\s\S]*rootfs +measured[\s\S]*asserted by the VM/);
  assert.match(unlocked, /canaries +10 refused/);
  assert.equal(readFileSync(at("release")).includes(UNLOCK_KEY), false);

  // Another machine makes the verdict again; a file that was changed since is found.
  const recheck = (want: number, name: string): Promise<string> =>
    run(want, "attest", "recheck", at("release"), "--verifiers", at("verifiers"), ...files(story, name, policy));
  assert.match(await recheck(0, "sim"), /the receipt holds: simulated/);
  cpSync(at("sim"), at("copy"), { recursive: true });
  cpSync(at("sim.challenge"), at("copy.challenge"));
  rmSync(at("copy/collateral/ark.crl"));
  assert.match(await recheck(3, "copy"), /FAIL +collateral[\s\S]*THE RECEIPT DOES NOT HOLD/);

  // A second site, with the same policy and the same operators, opens nothing of the first one's.
  await makeSite(story, "other");
  await enrol(story, "other", 1, attestation);
  assert.match(await on("other", 3, "attest", "unseal", at("release")), /ATTEST_RELEASE_SITE/);
  const opened = await on("state", 3, "attest", "unseal", at("release"));
  assert.match(opened, /SIMULATED – NOT AMD: recorded as such/);
  assert.match(await on("state", 3, "attest", "unseal", at("release")), /ATTEST_RELEASE_SPENT/);
  assert.match(await on("state", 3, "verify", at("medium/bundle.tar")), /\[ATTEST_SIMULATED\]/);
  assert.match(await on("state", 0, "ledger", "show"), /attested/);
  await on("state", 0, "ledger", "verify");
});

test("no policy for real machines releases a key to the simulator or to an impostor with AMD's names", {
  skip: SKIP,
}, async (t) => {
  const story = await begin(t);
  const { at, run } = story;
  await makeSite(story, "state");
  for (const [name, more] of [
    ["sim", []],
    ["impostor", ["--impostor"]],
  ] as const) {
    const { policy, answered } = await machine(story, "state", name, ...more);
    const own = JSON.parse(readFileSync(policy, "utf8")) as object;
    const { simulatedRoot: _, ...rules } = { simulatedRoot: "", ...own };
    const production = at(`${name}-production.json`);
    writeFileSync(production, JSON.stringify({ ...LEAST_POLICY, ...rules, kind: "sev-snp" }));
    const hostKey = await ask(story, "state", name, production, answered);
    const said = await run(3, ...unlock(story, name, production, hostKey, `${name}.release`));
    assert.match(said, /^DENIED[\s\S]*\[ATTEST_ROOT_UNKNOWN\]/);
    assert.equal(existsSync(at(`${name}.release`)), false, "nothing was released");
  }
});

test("attest collect and self-check on a machine that is no confidential VM end with 4, and a self-check needs its policy", {
  skip: SKIP,
}, async (t) => {
  const story = await begin(t);
  const { at, run, on, release } = story;
  await makeSite(story, "state");
  writeFileSync(at("policy.json"), JSON.stringify(LEAST_POLICY));
  await mkdir(at("collateral"));
  const self = ["attest", "self-check", "--collateral", at("collateral"), "--policy", at("policy.json")];
  assert.match(await on("state", 4, ...self), /ATTEST_RULE_OTHER/);
  await enrol(story, "state", 1, { mode: "self-check", policy: digestOf(readFileSync(at("policy.json"))) });
  assert.match(await on("state", 4, ...self), /ATTEST_TSM_(?:UNAVAILABLE|DENIED)/);
  assert.match(await on("state", 3, "verify", at("medium/bundle.tar")), /\[ATTEST_REQUIRED\]/);
  await on("state", 0, "ledger", "export", "--head", "--out", at("head"));
  const challenge = ["attest", "challenge", "--policy", at("policy.json"), "--release", release, "--head", at("head")];
  await run(0, ...challenge, "--out", at("challenge"));
  const collect = ["attest", "collect", "--challenge", at("challenge"), "--out", at("evidence")];
  assert.match(await on("state", 4, ...collect), /ATTEST_TSM_(?:UNAVAILABLE|DENIED)/);
  assert.equal(existsSync(at("evidence")), false);
  await run(2, ...challenge, "--out", at("never"), "--site", "0".repeat(32));
});
