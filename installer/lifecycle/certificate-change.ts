/**
 * Another certificate for clients, as a part of a deployment: the other colour starts with it, so that no
 * connection is cut; the colour that goes keeps the old one to its end. What it replaces is kept beside it
 * until the commit.
 */
import { basename, join } from "node:path";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import {
  type BroughtCertificate,
  broughtPath,
  certificateFiles,
  type PresentCertificate,
  writeKept,
} from "../site/client-certificate.ts";
import type { Config } from "../site/config.ts";
import { makeDirectory, readStateFile, removeDurably, removeTree } from "../site/disk.ts";
import { siteError } from "../site/error.ts";
import { clientAuthorityPath, type SecretSite, secretMakers, wantedNames } from "../site/secret-makers.ts";
import type { StatePaths } from "../site/state.ts";

/** In the journal. `own`: made when the step runs. `brought`: the file that waits must have this digest. */
export type CertificateChange = { readonly file: string; readonly uid: number } & (
  | { readonly source: "own" }
  | { readonly source: "brought"; readonly digest: Digest }
);

/** What an operator wishes: a new one of the site's own, or one that was brought. */
export type CertificateWish =
  | { readonly source: "own" }
  | { readonly source: "brought"; readonly brought: BroughtCertificate };

const FILE_MAX_BYTES = 64 * 1024;
const place = { file: { type: "string", maxLength: 256 }, uid: { type: "integer", minimum: 1 } };
export const certificateChangeSchema: JsonSchema = {
  oneOf: [
    {
      type: "object",
      additionalProperties: false,
      required: ["file", "uid", "source"],
      properties: { ...place, source: { const: "own" } },
    },
    {
      type: "object",
      additionalProperties: false,
      required: ["file", "uid", "source", "digest"],
      properties: {
        ...place,
        source: { const: "brought" },
        digest: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
      },
    },
  ],
};

export interface PlannedCertificate {
  readonly change: CertificateChange | undefined;
  /** For the person who signs. */
  readonly details: readonly string[];
}

/**
 * Without a wish the certificate changes only if it is the site's own and the configuration changes how
 * clients call the site. @throws TLS_NAME_MALFORMED
 */
export function planCertificate(
  present: PresentCertificate | undefined,
  config: Config,
  wish?: CertificateWish,
): PlannedCertificate {
  if (!present) return { change: undefined, details: [] };
  const { file, uid, isOwn, wantedNow, hostName, vouchedNames, names } = present;
  if (wish?.source === "brought") {
    const { leaf, bytes, names: its } = wish.brought;
    return {
      change: { file, uid, source: "brought", digest: digestOf(bytes) },
      details: [
        `certificate for clients: one that was brought, for ${its.join(", ")}, until ${leaf.validToDate.toISOString()}`,
        `its SHA-256 fingerprint: ${leaf.fingerprint256}`,
      ],
    };
  }
  const wanted = wantedNames(config, hostName);
  if (!wish && isSame(wanted, wantedNow)) return { change: undefined, details: [] };
  if (!wish && !isOwn) {
    const missing = wanted.filter((name) => !names.includes(name));
    const details = missing.map((name) => `the certificate that was brought does not name ${name}: it stays as it is`);
    return { change: undefined, details };
  }
  const isKnown = wanted.every((name) => vouchedNames.includes(name));
  return {
    change: { file, uid, source: "own" },
    details: [
      `certificate for clients: a new one of the site's own, for ${wanted.join(", ")}`,
      isKnown
        ? "clients trust its authority already"
        : "CLIENTS MUST TRUST ANOTHER AUTHORITY, which site/client-ca.pem holds then: it may vouch for these names only",
    ],
  };
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return [...one].sort().join() === [...other].sort().join();
}

/** Where what was replaced waits for the commit. */
function keptDirectory({ directory }: StatePaths): string {
  return join(directory, "site", "certificate-before");
}

/** @throws TLS_CERTIFICATE_MALFORMED if what was brought is not there any more | STATE_… */
export async function changeCertificate(site: SecretSite, change: CertificateChange, config: Config): Promise<void> {
  const { disk, paths } = site;
  const kept = keptDirectory(paths);
  removeTree(disk, kept);
  makeDirectory(disk, kept);
  const files = certificateFiles(paths, change);
  for (const file of files) {
    const bytes = readStateFile(file.path, FILE_MAX_BYTES);
    if (bytes) writeKept(disk, { ...file, path: join(kept, basename(file.path)) }, bytes);
  }
  const [target] = files;
  if (target) writeKept(disk, target, await bytesOf(site, change, config));
}

async function bytesOf(site: SecretSite, change: CertificateChange, config: Config): Promise<Buffer> {
  if (change.source === "own") {
    const { file, uid } = change;
    const directory = file.slice(0, file.lastIndexOf("/"));
    const [made] = await secretMakers(site, config).serverCertificate({ kind: "server-certificate", directory, uid });
    if (!made) throw new TypeError("the maker of the certificate did not make it");
    return made.bytes;
  }
  const bytes = readStateFile(broughtPath(site.paths), FILE_MAX_BYTES);
  if (bytes && digestOf(bytes) === change.digest) return bytes;
  throw siteError("TLS_CERTIFICATE_MALFORMED", "the certificate that was brought is not the one that was authorized");
}

/** Puts back what `changeCertificate` replaced, whole or half; nothing if it replaced nothing. */
export function restoreCertificate(
  { disk, paths }: Pick<SecretSite, "disk" | "paths">,
  change: CertificateChange,
): void {
  const kept = keptDirectory(paths);
  for (const file of certificateFiles(paths, change)) {
    const bytes = readStateFile(join(kept, basename(file.path)), FILE_MAX_BYTES);
    if (bytes) writeKept(disk, file, bytes);
  }
  forgetCertificate({ disk, paths });
}

/** The old certificate and its key. */
export function forgetCertificate({ disk, paths }: Pick<SecretSite, "disk" | "paths">): void {
  removeTree(disk, keptDirectory(paths));
  removeDurably(disk, broughtPath(paths));
}

/** What a plan says of the way back. */
export function certificateWayBack(paths: StatePaths): string {
  return `way back: sealift tls renew makes one of the site's own again (${clientAuthorityPath(paths)})`;
}
