/**
 * A small release (small-bundle.ts) with throwaway keys, a release trust and signatures, in memory and in
 * a few milliseconds. What a test wants wrong it says in the options, or changes in what comes back.
 */
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { NewSignatureObject } from "../../bundles/layout/signature-object.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { ROLES, type Role } from "../../bundles/model/signing-roles.ts";
import { mergeSignatures } from "../../bundles/sign/attach.ts";
import type { PrivateKey } from "../../bundles/sign/key-file.ts";
import { signRelease } from "../../bundles/sign/sign-release.ts";
import { planTrust, signTrust, trustedRootTarget } from "../../bundles/sign/trust-metadata.ts";
import {
  bundleFiles,
  SMALL_BUILDER,
  type SmallRelease,
  smallRelease,
  writeDirectory,
  writeSmallBundle,
} from "./small-bundle.ts";

/** Someone with a key. */
export interface Signer {
  readonly holder: string;
  readonly key: PrivateKey;
}

export type Signers = Readonly<Record<Role, readonly Signer[]>>;

export function makeSigner(holder: string): Signer {
  return { holder, key: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey };
}

/** One signer for each role, held by `bob-builder`, `sue-security` and `rob-release`. */
export function makeSigners(): Signers {
  return {
    builder: [makeSigner("bob-builder")],
    security: [makeSigner("sue-security")],
    release: [makeSigner("rob-release")],
  };
}

/** Someone who signs with a certificate. */
export interface RoleIdentity {
  readonly holder: string;
  readonly identity: string;
  readonly issuer: string;
}

export interface SmallTrustOptions {
  /** Who is in a role instead of its signers. */
  readonly identities?: Partial<Record<Role, readonly RoleIdentity[]>>;
  /** Sigstore's trusted_root.json, which identities need. */
  readonly trustedRoot?: Buffer;
  /** Who has root; one signer if not given, threshold of all. */
  readonly root?: readonly Signer[];
  /** Of each role; 1 if not given. */
  readonly thresholds?: Partial<Record<Role, number>>;
  /** The appliance that the roles may sign for; `*` if not given. */
  readonly appliance?: string;
  /** Changes the metadata before root signs it: what `sealift trust init` would refuse to make. */
  readonly edit?: (files: ReturnType<typeof planTrust>) => void;
  /** When the trust was made; its snapshot expires a year later. The time of SMALL_NOW if not given. */
  readonly now?: Date;
}

/** The time by which tests verify: the trust of `smallTrust` is fresh then. */
export const SMALL_NOW = "2026-06-01T00:00:00.000Z";

/** The files of a release trust, signed by every root key. @throws TRUST_LINT as `planTrust` does */
export function smallTrust(signers: Signers, options: SmallTrustOptions = {}): Map<string, Buffer> {
  const root = options.root ?? [makeSigner("ruth-root")];
  const holder = ({ key, holder: name }: Signer) => ({ publicKey: createPublicKey(key), holder: name });
  const carried = options.trustedRoot && trustedRootTarget(options.trustedRoot);
  const files = planTrust({
    root: root.map(holder),
    rootThreshold: root.length,
    roles: new Map(
      ROLES.map((role) => [
        role,
        {
          keys: options.identities?.[role] ?? signers[role].map(holder),
          threshold: options.thresholds?.[role] ?? 1,
        },
      ]),
    ),
    appliance: options.appliance ?? "*",
    now: options.now ?? new Date(SMALL_NOW),
    ...(carried && { trustedRoot: carried.target }),
  });
  options.edit?.(files);
  for (const { key } of root) signTrust(files, key);
  const bytes = new Map<string, Buffer>(
    [...files].map(([name, metadata]) => [name, Buffer.from(JSON.stringify(metadata.toJSON()))]),
  );
  if (carried && options.trustedRoot) bytes.set(carried.name, options.trustedRoot);
  return bytes;
}

/** What `sealift bundle sign --role ROLE` would add, with the key of one signer. */
export function signAs(small: SmallRelease, role: Role, signer: Signer): NewSignatureObject[] {
  const read = (digest: Digest): Buffer => small.blobs.get(digest) as Buffer;
  return signRelease({ read }, small.release, role, signer.key, SMALL_BUILDER);
}

/** The objects in the form in which a bundle holds them: one `.sig` manifest for each subject. */
export function mergeObjects(objects: readonly NewSignatureObject[]): NewSignatureObject[] {
  return mergeSignatures(NO_LAYOUT, [], objects);
}

const NO_LAYOUT = {
  readDescriptor: (): Buffer => {
    throw new Error("there is no layout to read from");
  },
};

export interface SignedBundleOptions extends SmallTrustOptions {
  readonly small?: SmallRelease;
  readonly signers?: Signers;
  /** Who signs as what; every signer in the own role if not given. */
  readonly signatures?: readonly (readonly [Role, Signer])[];
}

export interface SignedBundle {
  readonly small: SmallRelease;
  readonly signers: Signers;
  readonly trustFiles: Map<string, Buffer>;
  readonly objects: NewSignatureObject[];
}

export function signedBundle(options: SignedBundleOptions = {}): SignedBundle {
  const small = options.small ?? smallRelease();
  const signers = options.signers ?? makeSigners();
  const signatures =
    options.signatures ?? ROLES.flatMap((role) => signers[role].map((signer) => [role, signer] as const));
  const objects = mergeObjects(signatures.flatMap(([role, signer]) => signAs(small, role, signer)));
  return { small, signers, trustFiles: smallTrust(signers, options), objects };
}

/** All files of the bundle, in the order of its tar. */
export function signedFiles({ small, objects }: Pick<SignedBundle, "small" | "objects">): [string, Buffer][] {
  return bundleFiles(small, objects);
}

/** Writes the bundle's tar through the product's own writer. */
export async function writeSignedBundle(path: string, bundle: Pick<SignedBundle, "small" | "objects">): Promise<void> {
  await writeSmallBundle(path, bundle.small, bundle.objects);
}

/** Writes the bundle as a directory layout. */
export async function writeSignedDirectory(path: string, bundle: SignedBundle): Promise<void> {
  await writeDirectory(path, signedFiles(bundle));
}

/** Writes a release trust as a directory for `--trust`. */
export async function writeTrustFiles(directory: string, files: ReadonlyMap<string, Buffer>): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [name, bytes] of files) await writeFile(join(directory, name), bytes);
}
