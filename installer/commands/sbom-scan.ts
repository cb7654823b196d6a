import { existsSync } from "node:fs";
import { basename } from "node:path";
import { setFlagsFromString } from "node:v8";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { sbomError } from "../../sbom/error.ts";
import { carriedSnapshot } from "../../sbom/scan/carried-records.ts";
import { reportLines } from "../../sbom/scan/report-text.ts";
import { type ScanOptions, scanSboms } from "../../sbom/scan/scan.ts";
import { DEFAULT_SCAN_POLICY_BYTES, parseScanPolicy, SCAN_POLICY_MAX_BYTES } from "../../sbom/scan/scan-policy.ts";
import { snapshotOnDisk } from "../../sbom/scan/snapshot-on-disk.ts";
import type { Claims } from "../../sbom/scan/statements.ts";
import { readVex, VEX_MAX_BYTES } from "../../sbom/scan/vex.ts";
import { readWaivers, WAIVERS_MAX_BYTES } from "../../sbom/scan/waiver.ts";
import { BLOB_BUNDLE_MAX_BYTES } from "../../verify/signature/message.ts";
import { signersOfBlob } from "../../verify/signature/role-blob.ts";
import { loadTrust, type TrustRole } from "../../verify/trust/trust.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { sealiftVersion } from "../host/this-host.ts";
import { writeNew } from "../host/write-new.ts";
import { type Command, type Invocation, optionalOption, positionals, repeatedOption, usageError } from "./command.ts";
import { withSbomInputs } from "./sbom-inputs.ts";

const NAME = "sbom scan";
/** Beside a file, a Sigstore bundle over its bytes, as `cosign sign-blob --new-bundle-format` writes it. */
const SIGNATURE = ".sigstore.json";

export const sbomScan: Command = {
  name: NAME,
  summary: "find known vulnerabilities of what SBOMs list, offline, in a snapshot of OSV",
  usage: "BUNDLE|SBOM [--db DIR_OR_ZIP] [--vex FILE]… [--waivers FILE]… [--policy FILE]",
  details: [
    "--db PATH         OSV records: a directory, zip or tar of them, or NDJSON; those that BUNDLE carries if absent",
    "--vex FILE        CycloneDX or OpenVEX statements; may be given several times",
    "--waivers FILE    accepted vulnerabilities, each until a day; FILE.sigstore.json must hold (needs --trust)",
    "--policy FILE     what is denied (schema: `sealift schema scan-policy`); the strict default if absent",
    "--image NAME      of a bundle, this image only",
    "--trust DIR       release trust: FILE.sigstore.json beside the database, VEX and waivers must be of its",
    "                  security role where they are there",
    "--at TIME         judge as of this time (RFC 3339) instead of the host's clock",
    "--vex-out FILE    write the result as CycloneDX VEX too; with one SBOM or --image only",
    "A package that no record covers, a record that cannot be read and an SBOM without packages deny.",
    "Checks no signature of BUNDLE: `sealift verify` does, which also counts the VEX and waivers that it carries.",
    "Exit 0: allowed. Exit 3: denied.",
  ],
  options: {
    db: { type: "string" },
    vex: { type: "string", multiple: true },
    waivers: { type: "string", multiple: true },
    policy: { type: "string" },
    image: { type: "string" },
    trust: { type: "string" },
    at: { type: "string" },
    "vex-out": { type: "string" },
  },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "BUNDLE|SBOM");
    const at = timeOf(invocation);
    const policyPath = optionalOption(invocation, "policy");
    const { policy, digest: policyDigest } = parseScanPolicy(
      policyPath === undefined ? DEFAULT_SCAN_POLICY_BYTES : await readBoundedFile(policyPath, SCAN_POLICY_MAX_BYTES),
    );
    const security = securityRole(optionalOption(invocation, "trust"), at);
    const claims = await readClaims(invocation, security, at, policy.maxWaiverDays);
    const out = optionalOption(invocation, "vex-out");
    const report = await withSbomInputs(NAME, path, optionalOption(invocation, "image"), async (inputs, bundle) => {
      if (out !== undefined && inputs.length !== 1) {
        throw usageError(NAME, "--vex-out needs one SBOM; name it with --image");
      }
      const records = await recordsOf(optionalOption(invocation, "db"), bundle, security);
      // Hundreds of thousands of records, each of them garbage at once: young objects need no 100 MB to die in.
      setFlagsFromString("--semi-space-growth-factor=1");
      const progress = invocation.terminal.progress("reading vulnerability records");
      const onProgress = (count: number): void => progress.update(`${count} records`);
      const scanned = await scanSboms(inputs, { ...records, policy, policyDigest, at, claims, onProgress });
      progress.done(scanned.decision === "allow" ? "allowed" : "denied");
      return scanned;
    });
    const [subject] = report.subjects;
    if (out !== undefined && subject) {
      // CycloneDX's library is as much memory as the scan itself.
      const { vexDocument } = await import("../../sbom/scan/vex-document.ts");
      await writeNew(out, vexDocument(report, subject, sealiftVersion()));
    }
    // Nothing signed stands behind a scan that a person asked for: it informs, and authorizes nothing.
    invocation.terminal.document({ ...report, scope: "advisory" });
    for (const line of reportLines(report)) invocation.terminal.result(line);
    return report.decision === "allow" ? 0 : 3;
  },
};

/** Those at `path`, or else those that the bundle carries, whose signatures nobody has checked here. */
async function recordsOf(
  path: string | undefined,
  bundle: Layout | undefined,
  security: TrustRole | undefined,
): Promise<Pick<ScanOptions, "database" | "databaseSigners">> {
  if (path !== undefined) {
    const signatures = await signaturesBeside(path, security);
    return {
      database: snapshotOnDisk(path),
      databaseSigners: (digest) => signersOfBlob(signatures, digest, security),
    };
  }
  if (bundle === undefined) throw usageError(NAME, "--db is missing");
  const carried = carriedSnapshot(bundle, readRelease(bundle, readLayoutIndex(bundle).release));
  if (carried) return { database: carried, databaseSigners: () => [] };
  throw sbomError(
    "SCAN_DATABASE_NOT_FOUND",
    `bundle ${JSON.stringify(bundle.location)} carries no vulnerability records`,
    {
      hints: ["name some with --db: a directory, a zip or a tar of OSV records"],
    },
  );
}

function timeOf(invocation: Invocation): Date {
  const text = optionalOption(invocation, "at");
  const at = text === undefined ? new Date() : new Date(text);
  const isTime = text === undefined || /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/.test(text);
  if (!isTime || Number.isNaN(at.getTime())) {
    throw usageError(NAME, `--at: got ${JSON.stringify(text)}, want a time such as 2026-01-31T12:00:00Z`);
  }
  return at;
}

function securityRole(directory: string | undefined, at: Date): TrustRole | undefined {
  return directory === undefined ? undefined : loadTrust(readTrustDirectory(directory), at).roles.get("security");
}

/** `FILE.sigstore.json`, `FILE.2.sigstore.json` and so on: as many as the role must have. */
async function signaturesBeside(path: string, role: TrustRole | undefined): Promise<Buffer[]> {
  const found: Buffer[] = [];
  for (let number = 1; number <= (role?.threshold ?? 0); number++) {
    const beside = `${path}${number === 1 ? "" : `.${number}`}${SIGNATURE}`;
    if (existsSync(beside)) found.push(await readBoundedFile(beside, BLOB_BUNDLE_MAX_BYTES));
  }
  return found;
}

async function readClaims(
  invocation: Invocation,
  security: TrustRole | undefined,
  at: Date,
  maxWaiverDays: number,
): Promise<Claims> {
  const vex = [];
  for (const path of repeatedOption(invocation, "vex")) {
    const bytes = await readBoundedFile(path, VEX_MAX_BYTES);
    const isSigned = signersOfBlob(await signaturesBeside(path, security), digestOf(bytes), security).length > 0;
    vex.push(readVex(bytes, { name: basename(path), isSigned, at }));
  }
  const waivers = [];
  for (const path of repeatedOption(invocation, "waivers")) {
    const bytes = await readBoundedFile(path, WAIVERS_MAX_BYTES);
    if (signersOfBlob(await signaturesBeside(path, security), digestOf(bytes), security).length === 0) {
      throw sbomError("SCAN_WAIVER_NOT_SIGNED", `waivers ${JSON.stringify(path)}: no signature of the security role`, {
        hints: [
          `the signature is ${basename(path)}${SIGNATURE} beside it, made with \`cosign sign-blob --new-bundle-format\``,
          ...(security ? [] : ["name the publisher's release trust with --trust DIR"]),
        ],
      });
    }
    waivers.push(...readWaivers(bytes, basename(path), maxWaiverDays));
  }
  return {
    vex: vex.flatMap(({ statements }) => statements),
    waivers,
    problems: vex.flatMap(({ problems }) => problems),
  };
}
