/**
 * Who may be who inside an appliance: the certificates behind its mTLS (runbooks/adr/0013-identities.md).
 *
 *   root          one for each site; its key stays in the state, is never mounted and signs only here
 *   authority     one for each service, in that service's hands; may name this service and nothing else
 *   leaf          made by the service itself, lives a day (compose/services/service-kit/src/identity.ts)
 *
 * A service that cannot make a leaf, such as Postgres, gets a fixed one from the root, and no authority.
 * Root and authorities do not expire: nobody outside trusts them, and a site with a wrong clock must run.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { IDENTITY_NAME_PATTERN, type SecretRule } from "../../bundles/model/appliance-rules.ts";
import {
  ALWAYS,
  type CertificateFields,
  writeCertificate,
} from "../../compose/services/service-kit/src/certificate.ts";
import { authorityName, internalName } from "../../compose/services/service-kit/src/identity.ts";
import { type Disk, readStateFile, writeWhole } from "./disk.ts";
import { siteError } from "./error.ts";

/** A generated file: path below the site's secrets directory, owner, permissions. */
export interface SecretFile {
  readonly path: string;
  readonly bytes: Buffer;
  readonly uid: number;
  readonly mode: number;
}

type IdentityRule = Omit<Extract<SecretRule, { readonly kind: "identity" }>, "kind">;

export interface IdentityRoot {
  readonly privateKey: KeyObject;
  /** PEM: the root of `privateKey`, then those that are still trusted after a rotation. */
  readonly certificates: readonly string[];
}

const ROOT_NAME = "Sealift site root";
const SERVICE_NAME = new RegExp(IDENTITY_NAME_PATTERN);
const ROOT_FILE_MAX_BYTES = 64 * 1024;
const PURPOSES = ["server", "client"] as const;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/g;

/**
 * The root in the file `path` of the site's state; makes it if there is none. One file holds key and
 * certificates, so that a crash leaves both or neither. Mode 0400.
 * @throws STATE_DAMAGED | STATE_UNREADABLE | STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export function openIdentityRoot(disk: Disk, path: string): IdentityRoot {
  const bytes = readStateFile(path, ROOT_FILE_MAX_BYTES);
  if (bytes) return parseRoot(path, bytes.toString("latin1"));
  const root = makeIdentityRoot();
  writeWhole(disk, path, rootBytes(root), 0o400);
  return root;
}

/** As it lies in its file. */
export function rootBytes({ privateKey, certificates }: IdentityRoot): Buffer {
  return Buffer.from(pemOf(privateKey) + certificates.join(""));
}

/**
 * The one file of a service's identity, `identity.pem` in the rule's directory: a private key (PKCS#8), its
 * certificate, the roots. The certificate is the service's authority; or, for a fixed identity, a leaf that
 * any program takes which reads PEM, from this same file as its certificate, its key and its trusted roots.
 * New keys at each call. @throws RangeError for a service name that no certificate can hold
 */
export function makeIdentity(rule: IdentityRule, root: IdentityRoot): SecretFile[] {
  const { service, directory, uid, fixed = false } = rule;
  if (!SERVICE_NAME.test(service)) {
    throw new RangeError(`identity: got service ${JSON.stringify(service)}, want ${SERVICE_NAME.source}`);
  }
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const name = internalName(service);
  const authority = { pathLength: 0, limits: { dns: [name], ip: [], commonName: name } };
  const certificate = writeCertificate({
    ...ALWAYS,
    ...(fixed ? { subject: name, names: [name] } : { subject: authorityName(service), authority }),
    publicKey,
    issuer: { name: ROOT_NAME, privateKey: root.privateKey },
    purposes: PURPOSES,
  });
  const text = pemOf(privateKey) + certificate + root.certificates.join("");
  return [{ path: `${directory}/identity.pem`, bytes: Buffer.from(text), uid, mode: 0o400 }];
}

/** Another root. Its name is that of every other: certificates tell them apart by the key. */
export function makeIdentityRoot(): IdentityRoot {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const fields: CertificateFields = {
    ...ALWAYS,
    subject: ROOT_NAME,
    publicKey,
    issuer: { name: ROOT_NAME, privateKey },
    purposes: PURPOSES,
    authority: { pathLength: 1, limits: { dns: ["sealift.internal"], ip: [] } },
  };
  return { privateKey, certificates: [writeCertificate(fields)] };
}

function parseRoot(path: string, text: string): IdentityRoot {
  const certificates = text.match(PEM_CERTIFICATE) ?? [];
  try {
    const privateKey = createPrivateKey(text);
    const [first] = certificates.map((pem) => new X509Certificate(pem));
    if (first?.checkPrivateKey(privateKey)) {
      return { privateKey, certificates };
    }
  } catch {
    // OpenSSL's own words may hold bytes of the file.
  }
  throw siteError("STATE_DAMAGED", `source ${JSON.stringify(path)}: want a private key and its certificate as PEM`);
}

function pemOf(privateKey: KeyObject): string {
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}
