/** The secrets of what runs: there, each its reader's alone, fitting together; and none besides. Values are never shown. */
import { X509Certificate } from "node:crypto";
import { lstatSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import type { SecretRule } from "../../../bundles/model/appliance-rules.ts";
import { reasonOf, SealiftError } from "../../../bundles/model/sealift-error.ts";
import { Identity } from "../../../compose/services/service-kit/src/identity.ts";
import { readStateFile, systemCode } from "../../site/disk.ts";
import { openIdentityRoot } from "../../site/identities.ts";
import { identityRootPath } from "../../site/secret-makers.ts";
import { missingSecrets, requireConsistentSecret, SECRET_MODE, secretFiles } from "../../site/secrets.ts";
import { configOf } from "../deployed-config.ts";
import type { Site } from "../site.ts";
import { clientCertificate } from "../site-status.ts";
import { withStoredRelease } from "../stored-release.ts";
import type { CheckLog } from "./check-log.ts";
import { fsckError } from "./error.ts";
import { type FsckGround, type Installed, installed } from "./ground.ts";

const IDENTITY_MAX_BYTES = 64 * 1024;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const FROM_BACKUP = "restore the file from a backup of the site";

export async function checkSecrets(ground: FsckGround, log: CheckLog): Promise<void> {
  const found = installed(ground, log);
  if (!found) return;
  const rules = await rulesOf(found, log);
  if (!rules) return log.notChecked("which secrets there should be: the release is not whole in the store");
  const { site } = found;
  const directory = join(site.paths.directory, "secrets");
  for (const rule of rules.current) {
    for (const file of log.attempt("secrets", () => missingSecrets(directory, [rule])) ?? []) {
      const message = `secrets/${file}: is not there, and a service needs it`;
      log.find(
        `secrets/${file}`,
        fsckError("FSCK_SECRET_MISSING", message, { hints: [FROM_BACKUP, "sealift status"] }),
      );
    }
    log.attempt(`secrets/${Object.keys(secretFiles(rule))[0]}`, () => requireConsistentSecret(directory, rule));
  }
  const declared = new Map([...rules.previous, ...rules.current].flatMap((rule) => Object.entries(secretFiles(rule))));
  for (const path of log.attempt("secrets", () => filesBelow(directory)) ?? []) {
    const file = relative(directory, path);
    const uid = declared.get(file);
    if (uid === undefined) {
      const message = `${JSON.stringify(path)}: no service of this site declares it`;
      const hints = ["find out what made it; if nothing needs it, remove it"];
      log.find(`secrets/${file}`, fsckError("FSCK_SECRET_UNKNOWN", message, { hints }));
    } else log.attempt(`secrets/${file}`, () => judge(path, file, uid, log));
  }
  if (process.getuid?.() !== 0) log.notChecked("owners of secrets: not root");
}

async function rulesOf(
  { site, current, previous }: Installed,
  log: CheckLog,
): Promise<{ readonly current: readonly SecretRule[]; readonly previous: readonly SecretRule[] } | undefined> {
  try {
    const [now, before] = [
      await withStoredRelease(site.paths, current.release, async ({ rules }) => rules.secrets),
      previous ? await withStoredRelease(site.paths, previous.release, async ({ rules }) => rules.secrets) : [],
    ];
    log.looked();
    return { current: now, previous: before };
  } catch (cause) {
    // The check of the store tells it.
    if (cause instanceof SealiftError) return undefined;
    throw cause;
  }
}

function judge(path: string, file: string, uid: number, log: CheckLog): void {
  const { mode, uid: owner, nlink } = lstatSync(path);
  const isRoot = process.getuid?.() === 0;
  const got = mode & 0o7777;
  const problems = [
    ...(got === SECRET_MODE ? [] : [`got mode ${got.toString(8)}, want ${SECRET_MODE.toString(8)}`]),
    ...(owner === uid || !isRoot ? [] : [`got uid ${owner}, want ${uid}`]),
    ...(nlink === 1 ? [] : [`got ${nlink} names, want 1`]),
  ];
  if (problems.length === 0) return;
  log.find(
    `secrets/${file}`,
    fsckError("FSCK_FILE_MODE", `${JSON.stringify(path)}: ${problems.join(", ")}`, {
      hints: [
        "find out who changed it: others may have read it, then sealift rotate secrets",
        `chmod ${SECRET_MODE.toString(8)} and chown ${uid}:${uid} put it right`,
      ],
    }),
  );
}

/** Regular files; the check of the state's files tells of what is none. */
function filesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  return entries.flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [path] : [];
  });
}

/** Each identity inside is one that the site's own root made; the certificate for clients is in force. */
export async function checkIdentities(ground: FsckGround, log: CheckLog): Promise<void> {
  const found = installed(ground, log);
  if (!found) return;
  const rules = await rulesOf(found, log);
  if (!rules) return log.notChecked("which identities there should be: the release is not whole in the store");
  const { site, current } = found;
  const now = ground.clock().now;
  for (const rule of rules.current) {
    if (rule.kind !== "identity") continue;
    const file = `secrets/${rule.directory}/identity.pem`;
    const problem = log.attempt(file, () => identityProblem(site, rule, now) ?? "");
    if (!problem) continue;
    log.find(
      file,
      fsckError("FSCK_IDENTITY_UNUSABLE", `identity of ${JSON.stringify(rule.service)}: ${problem}`, {
        hints: ["sealift rotate certificates makes all of them anew"],
      }),
    );
  }
  if (!hasConfig(found)) return log.notChecked("the certificate for clients: the configuration does not hold");
  const certificate = await log.attemptAsync("certificate for clients", () => clientCertificate(site, current));
  for (const problem of certificate?.problems ?? []) {
    log.find("certificate for clients", fsckError("FSCK_CERTIFICATE", problem, { hints: ["sealift tls renew"] }));
  }
  for (const warning of certificate?.warnings ?? []) log.warn(warning);
}

/** The check of the deployment tells of one that does not hold. */
function hasConfig({ site, current }: Installed): boolean {
  try {
    configOf(site, current);
    return true;
  } catch (cause) {
    if (cause instanceof SealiftError) return false;
    throw cause;
  }
}

/** Undefined if a service can use it, or if it is not there, which another check tells. */
function identityProblem(
  { paths, disk }: Site,
  { service, directory, fixed = false }: Extract<SecretRule, { readonly kind: "identity" }>,
  now: Date,
): string | undefined {
  const bytes = readStateFile(join(paths.directory, "secrets", directory, "identity.pem"), IDENTITY_MAX_BYTES);
  const root = identityRootPath(paths);
  if (!bytes) return undefined;
  if (!lstatSync(root, { throwIfNoEntry: false })) return "the site's root that made it is not there";
  const pem = bytes.toString("latin1");
  try {
    const [first] = (pem.match(PEM_CERTIFICATE) ?? []).map((one) => new X509Certificate(one));
    if (!first) return "there is no certificate in it";
    if (first.validFromDate > now || first.validToDate < now) return `is in force until ${first.validTo}`;
    const roots = openIdentityRoot(disk, root).certificates.map((one) => new X509Certificate(one));
    if (!roots.some(({ publicKey }) => first.verify(publicKey))) return "the site's root did not make it";
    // As the service reads it.
    if (!fixed) Identity.of(service, pem);
    return undefined;
  } catch (cause) {
    if (cause instanceof SealiftError || systemCode(cause)?.startsWith("E")) throw cause;
    // OpenSSL's own words may hold bytes of the file.
    return cause instanceof Error && cause.name === "SettingsError" ? reasonOf(cause) : "it cannot be read";
  }
}
