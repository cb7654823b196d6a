/** A site whose policy demands two reviewers' approvals: what it takes on a real engine, and what it refuses. */
import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, it } from "node:test";
import { parseDigest } from "../../bundles/model/digest.ts";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { signApproval } from "../../bundles/sign/approval.ts";
import { loadPrivateKey } from "../../bundles/sign/key-file.ts";
import { statementPath } from "../../verify/approval-files.ts";
import { MAY_STAY_UNCHECKED } from "../../verify/policy.ts";
import { sealift } from "../support/command-line.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, type RealRelease, realRelease, realTrust } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const PORT = 18_773;
const DAY_MS = 86_400_000;
const REVIEWERS = ["rita", "raul"] as const;
type Reviewer = (typeof REVIEWERS)[number] | "rosa";
const PASSWORD = "of throwaway keys";

inOwnMachine(import.meta.url, "a site takes only what its reviewers approved", defineTests, () =>
  prepareReleases("first", "next"),
);

function defineTests(): void {
  const cleanups: (() => Promise<void>)[] = [];
  let directory: string;
  let site: RunningSite;
  let first: RealRelease;
  let next: RealRelease;
  let policy = "";

  const at = (name: string): string => join(directory, name);

  before(async () => {
    directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    site = await RunningSite.start(directory, "classic");
    cleanups.unshift(() => site.engine.stop());
    // Approvals lie beside a bundle, and other tests use the directory in which this one lies.
    mkdirSync(at("medium"));
    [first, next] = [await onMedium(await realRelease("first")), await onMedium(await realRelease("next"))];
    for (const name of [...REVIEWERS, "rosa"]) {
      const made = await sealift(["key", "generate", "--out", at(name), "--password-env", "PASSWORD"], { PASSWORD });
      assert.equal(made.exit, 0, made.stderr);
    }
    writeFileSync(at("config.yaml"), JSON.stringify({ clientPort: PORT }));
    policy = await enrolPolicy(1, REVIEWERS);
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  async function onMedium(release: RealRelease): Promise<RealRelease> {
    const bundle = at(`medium/${release.version}.tar`);
    symlinkSync(release.bundle, bundle);
    return { ...release, bundle };
  }

  /** The digest of the policy, which is in force then. */
  async function enrolPolicy(version: number, reviewers: readonly Reviewer[]): Promise<string> {
    const named = reviewers.map((holder) => ({ holder, publicKey: readFileSync(at(`${holder}.pub`), "utf8") }));
    writeFileSync(
      at("policy.json"),
      JSON.stringify({
        schemaVersion: 1,
        name: "two-reviewers",
        version,
        approvals: { threshold: 2, reviewers: named, maxAgeDays: 30 },
        acceptNotChecked: MAY_STAY_UNCHECKED,
      }),
    );
    await site.change("policy", "import", at("policy.json"));
    const { stdout } = await site.run("policy", "show", "--json");
    return (JSON.parse(stdout) as { digest: string }).digest;
  }

  async function approve(release: RealRelease, reviewer: Reviewer): Promise<void> {
    const how = ["--key", at(`${reviewer}.key`), "--password-env", "PASSWORD", "--state", site.site.state];
    const { exit, stdout, stderr } = await sealift(["approve", release.bundle, ...how], { PASSWORD });
    assert.equal(exit, 0, stdout + stderr);
  }

  /** An approval that says what this site's reviewer would not say through the verb. */
  function approveBy(reviewer: Reviewer, release: RealRelease, timeVerified: Date): void {
    const key = loadPrivateKey(at(`${reviewer}.key`), PASSWORD);
    const [digest, under] = [parseDigest(release.digest), parseDigest(policy)];
    assert.ok(digest && under);
    const approval = signApproval(key, {
      release: digest,
      appliance: "sealift-gateway",
      version: release.version,
      policy: under,
      trust: { rootFingerprint: "0".repeat(64), rootVersion: 1, targetsVersion: 1 },
      attestations: [],
      timeVerified: timeVerified.toISOString(),
      sealiftVersion: "0.1.0",
    });
    writeFileSync(statementPath(release.bundle, "approval", keyFingerprint(createPublicKey(key))), approval);
  }

  const approvals = ({ version }: RealRelease): string[] =>
    readdirSync(at("medium"))
      .filter((name) => name.startsWith(`${version}.tar.approval-`))
      .sort();

  function clear(release: RealRelease): void {
    for (const name of approvals(release)) rmSync(at(`medium/${name}`));
  }

  /** The plan of the verb is refused, because fewer than two approvals count; `says` why one did not. */
  async function refused(verb: string, release: RealRelease, count: number, says: RegExp): Promise<void> {
    const config = verb === "install" ? ["--config", at("config.yaml")] : [];
    const { exit, stdout, stderr } = await site.run(verb, release.bundle, ...config, "--plan");
    assert.equal(exit, 3, stdout + stderr);
    assert.match(stdout + stderr, /APPROVAL_MISSING/);
    assert.ok((stdout + stderr).includes(`got ${count} of 2 approvals`), stdout + stderr);
    assert.match(stdout + stderr, says);
  }

  async function allowed(verb: string, ...args: readonly string[]): Promise<void> {
    const { exit, stdout, stderr } = await site.run(verb, ...args, "--plan");
    assert.equal(exit, 0, stdout + stderr);
  }

  /** An approval is missing, there twice, or another release's. */
  async function refusals(verb: string, release: RealRelease, other: RealRelease): Promise<void> {
    await refused(verb, release, 0, /nobody/);
    await approve(release, "rita");
    await refused(verb, release, 1, /rita/);
    const [hers = ""] = approvals(release);
    const second = at(`medium/${release.version}.tar.approval-${"0".repeat(16)}.json`);
    copyFileSync(at(`medium/${hers}`), second);
    await refused(verb, release, 1, /approvals: rita/);
    await approve(other, "raul");
    const [his = ""] = approvals(other);
    copyFileSync(at(`medium/${his}`), second);
    await refused(verb, release, 1, /\[APPROVAL_OTHER\] raul approved sha256:.*, not this release/);
    clear(other);
    clear(release);
  }

  it("install is refused without two good approvals, and changes nothing", async () => {
    const before = readFileSync(join(site.site.state, "ledger"));
    await refusals("install", first, next);
    await approve(first, "rita");
    approveBy("rosa", first, new Date());
    await refused("install", first, 1, /\[SIGNATURE_UNKNOWN_KEY\]/);
    approveBy("raul", first, new Date(Date.now() - 31 * DAY_MS));
    await refused("install", first, 1, /\[APPROVAL_EXPIRED\] raul approved at .* at most 30 days ago/);
    approveBy("raul", first, new Date(Date.now() + 2 * DAY_MS));
    await refused("install", first, 1, /\[APPROVAL_EXPIRED\] raul approved at .* not before/);
    clear(first);
    const denied = await sealift(site.signed("install", first.bundle, "--config", at("config.yaml")));
    assert.equal(denied.exit, 3, denied.stderr);
    assert.match(denied.stdout + denied.stderr, /got 0 of 2 approvals: nobody \[APPROVAL_MISSING\]/);
    assert.deepEqual(readFileSync(join(site.site.state, "ledger")), before);
  });

  it("install goes on with two, and the site keeps them with the release", async () => {
    for (const reviewer of REVIEWERS) await approve(first, reviewer);
    await site.change("install", first.bundle, "--config", at("config.yaml"));
    await site.assertAt("1.0.0");
    clear(first);
    writeFileSync(at("config.yaml"), JSON.stringify({ clientPort: PORT + 1 }));
    const { exit, stdout, stderr } = await site.run("config", "apply", at("config.yaml"), "--plan");
    assert.equal(exit, 0, stdout + stderr);
  });

  it("so is an upgrade, and the way back needs no medium", async () => {
    await refusals("upgrade", next, first);
    for (const reviewer of REVIEWERS) await approve(next, reviewer);
    await site.change("upgrade", next.bundle);
    await site.assertAt("1.1.0");
    rmSync(at("medium"), { recursive: true });
    await allowed("rollback");
  });

  it("a reviewer whom the next policy does not name approved nothing; nor one whose key was taken back", async () => {
    const { directory: trust } = await realTrust();
    const [revoked, root] = [at("revoked"), join(dirname(trust), "root.key")];
    const how = ["--reason", "lost", "--key", root, "--out", revoked];
    const made = await sealift(["trust", "revoke", trust, "--revoke-key", at("raul.pub"), ...how], {
      COSIGN_PASSWORD: PASSWORD,
    });
    assert.equal(made.exit, 0, made.stdout + made.stderr);
    await enrolPolicy(2, ["rita", "rosa"]);
    const denied = await site.run("rollback", "--plan");
    assert.equal(denied.exit, 3, denied.stdout + denied.stderr);
    assert.match(denied.stdout + denied.stderr, /got 1 of 2 approvals: rita; not counted: \[SIGNATURE_UNKNOWN_KEY\]/);
    await enrolPolicy(3, REVIEWERS);
    await allowed("rollback");
    await site.change("trust", "import", revoked);
    const late = await site.run("rollback", "--plan");
    assert.equal(late.exit, 3, late.stdout + late.stderr);
    assert.match(late.stdout + late.stderr, /got 1 of 2 approvals: rita; not counted: \[SIGNER_REVOKED\] raul/);
    await site.assertAt("1.1.0");
  });
}
