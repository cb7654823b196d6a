/**
 * Verification of a bundle, start to end. Runs inside the cage (cage/judge.ts) on open file descriptors
 * and on bytes; it opens nothing itself.
 *
 * The order is part of the contract: the tar's form, then the release trust, then the signatures over
 * the release's digest; nothing else of the bundle is parsed unless those hold. Hashing of the large
 * blobs goes on beside all this, in other processes, and interprets nothing.
 */
import {
  type BundleRelease,
  bare,
  leftOut,
  readLayoutIndex,
  readRelease,
  releaseAt,
} from "../bundles/layout/contents.ts";
import { type Layout, type LayoutFile, readLayout, type Store } from "../bundles/layout/layout.ts";
import { readSignatureObjects, type SignatureObject } from "../bundles/layout/signature-object.ts";
import type { Descriptor } from "../bundles/model/descriptor.ts";
import { type Digest, digestOf } from "../bundles/model/digest.ts";
import { PREDICATE_COSIGN_SIGN, PREDICATE_CYCLONEDX, PREDICATE_SLSA_PROVENANCE } from "../bundles/model/media-types.ts";
import { hasVendorSboms } from "../sbom/vendor-sbom.ts";
import { HASHED_BY_JUDGE_MAX_BYTES } from "./cage/hash-tasks.ts";
import { checkApprovals } from "./checks/approvals.ts";
import { checkProvenance, checkSboms } from "./checks/attestations.ts";
import { checkClosedWorld } from "./checks/closed-world.ts";
import { checkCompose } from "./checks/compose.ts";
import { checkIdentity } from "./checks/identity.ts";
import { checkImageConfigs } from "./checks/images.ts";
import { lockedDigests } from "./checks/locked-inputs.ts";
import { checkRebuilt } from "./checks/rebuilt.ts";
import { checkReferenceValues } from "./checks/reference-values.ts";
import { checkReleaseProvenance } from "./checks/release-provenance.ts";
import { checkRevocation } from "./checks/revocation.ts";
import type { ImportedRecords } from "./checks/scan.ts";
import { checkDemand, type Signable, type TrustInUse, verifySignatures } from "./checks/signatures.ts";
import { checkTrustAge } from "./checks/trust-age.ts";
import { checkScan, checkVendorSboms, describe } from "./look-up.ts";
import { type Policy, parsePolicy } from "./policy.ts";
import type { EarlierRelease, ReleaseContents } from "./release-contents.ts";
import { Report } from "./report.ts";
import { loadTrust, type Trust } from "./trust/trust.ts";
import { decide, type Finding, failed, notChecked, passed, type Verdict } from "./verdict.ts";

export interface VerifyInput {
  readonly store: Store;
  readonly trustFiles: ReadonlyMap<string, Buffer>;
  readonly policyBytes: Buffer;
  /** Reviewers' approvals and rebuilders' statements, Sigstore bundles; looked at only if the policy demands some. */
  readonly approvals?: readonly Buffer[];
  /** Policies that the site had before this one: an approval under one of them counts too. */
  readonly earlierPolicies?: readonly Digest[];
  readonly time: Verdict["time"];
  readonly scope: Verdict["scope"];
  readonly sealiftVersion: string;
  readonly walls: { readonly network: boolean; readonly user: boolean };
  /** Vulnerability records that did not come with the release. */
  readonly imported?: ImportedRecords | undefined;
  /** Say what is in the release too (release-contents.ts), compared with what `earlier` holds. */
  readonly describe?: { readonly earlier: EarlierRelease | undefined } | undefined;
  /**
   * The digests of the blobs in `hashTasks`, by the digest that each claims, once they are known; and of `borrowed`,
   * blobs of the store's base that a thin bundle leaves out.
   */
  readonly hashed: (borrowed: readonly Digest[]) => Promise<ReadonlyMap<string, string>>;
}

export interface Judged {
  readonly verdict: Verdict;
  /** Only if asked for, and if the release could be read and its signatures hold. */
  readonly contents: ReleaseContents | undefined;
}

/** Never throws for what is in the bundle: what is wrong with it is in the findings. @throws POLICY_MALFORMED */
export async function verifyRelease(input: VerifyInput): Promise<Judged> {
  const { policy, digest: policyDigest } = parsePolicy(input.policyBytes);
  const report = new Report();
  report.add(cageFinding(input.walls));
  const layout = report.try("layout", "bundle", () => readLayout(input.store));
  const loaded = report.try("trust", "release trust", () => loadTrust(input.trustFiles, new Date(input.time.at)));
  const trust = loaded && (await trustInUse(report, loaded));
  if (trust) {
    report.add(...checkTrustAge(trust, policy, input.time));
    report.add(
      passed(
        "trust",
        "release trust",
        `root ${trust.rootVersion}, targets ${trust.targetsVersion}, valid at ${input.time.at}`,
      ),
    );
  }
  const found = layout && report.try("layout", "index.json", () => findSignatures(layout));
  const trusted = found && trust && checkReleaseSignatures(report, found, trust);
  if (found && trust) {
    const { approvals = [], earlierPolicies = [] } = input;
    const policies = [policyDigest, ...earlierPolicies];
    report.add(...checkRevocation(found.release.digest, trust));
    report.try("signatures", "approvals", () =>
      report.add(
        ...checkApprovals({ release: found.release.digest, policy, policies, trust, approvals, at: input.time.at }),
      ),
    );
    report.try("rebuilt", "release", () =>
      report.add(checkRebuilt({ release: found.release.digest, policy, trust, statements: approvals })),
    );
  }
  const release =
    layout && found && trusted
      ? report.try("release", found.release.digest, () => readRelease(layout, found.release))
      : undefined;
  if (layout && found && trust && release) checkContents(report, input, { layout, release, found, trust, policy });
  const borrowed = layout && release ? leftOut(layout, release).filter((digest) => layout.blob(digest)) : [];
  const digests = layout ? digestFindings(layout, borrowed, await input.hashed(borrowed)) : [];
  report.add(...digests);
  // The records are the largest thing that the verifier parses: only of a bundle of which every byte is right.
  const isWhole = digests.every(({ status }) => status === "pass");
  let contents: ReleaseContents | undefined;
  if (layout && release && trust && isWhole) {
    const question = { layout, release, trust, policy, at: new Date(input.time.at), imported: input.imported };
    if (hasVendorSboms(release)) await checkVendorSboms(report, question);
    const scanned = await checkScan(report, question);
    if (input.describe) contents = await describe(report, question, scanned, input.describe.earlier);
  }
  report.fillGaps(trusted ? "an earlier check failed" : "nothing else of a release is read before its signatures hold");
  const findings = report.sorted();
  const verdict: Verdict = {
    schemaVersion: 1,
    decision: decide(findings, policy),
    scope: input.scope,
    subject: {
      digest: found?.release.digest ?? null,
      appliance: report.release?.manifest.appliance ?? null,
      version: report.release?.manifest.version ?? null,
    },
    policy: { digest: policyDigest },
    trust: {
      rootVersion: trust?.rootVersion ?? null,
      targetsVersion: trust?.targetsVersion ?? null,
      rootFingerprint: trust?.rootFingerprint ?? null,
      expires: trust?.expires ?? null,
    },
    time: input.time,
    signatures: report.signatures(),
    provenance: report.provenance,
    findings,
  };
  return { verdict, contents };
}

/** What judges certificates takes as long to load as all the rest, so it is loaded only where a role needs it. */
async function trustInUse(report: Report, trust: Trust): Promise<TrustInUse | undefined> {
  const { trustedRoot } = trust;
  if (trustedRoot === undefined) return trust;
  const { keylessVerifier } = await import("./signature/keyless-statement.ts");
  return report.try("trust", "trusted_root.json", () => ({ ...trust, keyless: keylessVerifier(trustedRoot) }));
}

function cageFinding(walls: VerifyInput["walls"]): Finding {
  const missing = [walls.network ? "" : "an empty network namespace", walls.user ? "" : "an unprivileged user"].filter(
    Boolean,
  );
  return missing.length === 0
    ? passed("cage", "verifier", "unprivileged, without a network, without access to files")
    : notChecked(
        "cage",
        "verifier",
        `this host did not allow ${missing.join(" and ")}; Node's permission model alone held the verifier`,
      );
}

interface FoundSignatures {
  readonly release: Descriptor;
  readonly objects: readonly SignatureObject[];
}

function findSignatures(layout: Layout): FoundSignatures {
  const { release, others } = readLayoutIndex(layout);
  return { release: releaseAt(release), objects: readSignatureObjects(layout, others) };
}

/** The threshold of each role over the release's digest. Nothing of the release has been parsed yet. */
function checkReleaseSignatures(report: Report, { release, objects }: FoundSignatures, trust: TrustInUse): boolean {
  const about = objects.filter((object) => object.subject === release.digest);
  const signables = new Map([[release.digest, { kind: "release" as const, descriptor: release }]]);
  const { signed, findings } = verifySignatures(about, signables, trust, "signatures");
  const demands = (["builder", "security", "release"] as const).map((role) =>
    checkDemand(
      { check: "signatures", name: "release", subject: release.digest, predicateType: PREDICATE_COSIGN_SIGN, role },
      signed,
      trust,
    ),
  );
  report.add(...findings, ...demands);
  report.addSigned(signed);
  return [...findings, ...demands].every((finding) => finding.status === "pass");
}

interface Contents {
  readonly layout: Layout;
  readonly release: BundleRelease;
  readonly found: FoundSignatures;
  readonly trust: TrustInUse;
  readonly policy: Policy;
}

/** What the images, and then the release, were made of. The statements about the release are verified already. */
function checkOrigins(report: Report, { layout, release, trust, policy }: Contents): void {
  const { digest: subject } = release.descriptor;
  const locked = lockedDigests(layout, release.manifest.lock);
  report.addProvenance(...checkProvenance(layout, release, policy, locked));
  const demand = { check: "provenance", name: "release", subject, predicateType: PREDICATE_SLSA_PROVENANCE } as const;
  const statements = report.signed.filter((one) => one.subject === subject && "said" in one);
  report.add(checkDemand({ ...demand, role: "builder" }, statements, trust));
  const images = [...report.provenance];
  report.addProvenance(...checkReleaseProvenance({ release: release.manifest, policy, locked, images, statements }));
}

function checkContents(report: Report, input: VerifyInput, context: Contents): void {
  const { layout, release, found, trust, policy } = context;
  report.release = release;
  const { appliance, version, images } = release.manifest;
  report.add(
    passed(
      "release",
      release.descriptor.digest,
      `${appliance} ${version}: ${images.length} images, ${release.files.size} files`,
    ),
  );
  report.try("layout", "bundle", () => report.add(...checkClosedWorld(layout, release, found.objects)));
  report.try("identity", "release", () =>
    report.add(...checkIdentity(release.manifest, policy, trust, input.sealiftVersion)),
  );
  report.try("images", "release", () => report.add(...checkImageConfigs(layout, release)));
  report.try("sbom", "release", () => report.add(...checkSboms(layout, release)));
  report.try("provenance", "release", () => checkOrigins(report, context));
  report.try("compose", "template", () => report.add(...checkCompose(layout, release)));
  report.try("attestation", "release", () => report.add(...checkReferenceValues(layout, release)));
  const signables = new Map<Digest, Signable>(
    [...release.images.values()].map(({ descriptor }) => [
      descriptor.digest,
      { kind: "image", descriptor: bare(descriptor) },
    ]),
  );
  const others = found.objects.filter((object) => object.subject !== release.descriptor.digest);
  const { signed, findings } = verifySignatures(others, signables, trust, "images");
  report.add(...findings);
  report.addSigned(signed);
  for (const { name, digest: subject, sbom, provenance } of images) {
    const role = "builder";
    report.add(
      checkDemand({ check: "images", name, subject, predicateType: PREDICATE_COSIGN_SIGN, role }, signed, trust),
      checkDemand(
        { check: "sbom", name, subject, predicateType: PREDICATE_CYCLONEDX, predicate: sbom, role },
        signed,
        trust,
      ),
      checkDemand(
        { check: "provenance", name, subject, predicateType: PREDICATE_SLSA_PROVENANCE, predicate: provenance, role },
        signed,
        trust,
      ),
    );
  }
}

function digestFindings(layout: Layout, borrowed: readonly Digest[], got: ReadonlyMap<string, string>): Finding[] {
  const findings: Finding[] = [];
  const blobs = [...layout.blobDigests(), ...borrowed];
  let bytes = 0;
  for (const want of blobs) {
    const file = layout.blob(want) as LayoutFile;
    bytes += file.size;
    const actual =
      file.size > HASHED_BY_JUDGE_MAX_BYTES
        ? got.get(want)
        : digestOf(layout.readUnverified(file.name, HASHED_BY_JUDGE_MAX_BYTES));
    if (actual !== want) {
      findings.push(
        failed("digests", want, "LAYOUT_DIGEST_MISMATCH", `blob ${want}: got ${actual ?? "fewer bytes than promised"}`),
      );
    }
  }
  return findings.length > 0
    ? findings
    : [passed("digests", "bundle", `${blobs.length} blobs, ${bytes} bytes, each hashed`)];
}
