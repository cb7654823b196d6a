/** Services with identities of one site, and what an attacker who holds one of them could make of it. */
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { writeCertificate } from "../../compose/services/service-kit/src/certificate.ts";
import {
  authorityName,
  Identity,
  type IdentityOptions,
  internalName,
} from "../../compose/services/service-kit/src/identity.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { type IdentityRoot, makeIdentity, openIdentityRoot } from "../../installer/site/identities.ts";

export interface TestIdentities {
  readonly root: IdentityRoot;
  /** The file that `service` has; the same one each time. */
  path(service: string): string;
  open(service: string, options?: IdentityOptions): Promise<Identity>;
}

/** Makes a site's root in `directory`, and an identity for each service that is asked for. */
export function testIdentities(directory: string): TestIdentities {
  const root = openIdentityRoot(hostDisk, join(directory, "identity-root.pem"));
  const paths = new Map<string, string>();
  const path = (service: string): string => {
    const known = paths.get(service);
    if (known) return known;
    const [file] = makeIdentity({ service, directory: service, uid: 10_001 }, root);
    const made = join(directory, `${service}.pem`);
    writeFileSync(made, file?.bytes ?? "");
    paths.set(service, made);
    return made;
  };
  return { root, path, open: (service, options) => Identity.open(path(service), service, options) };
}

export interface Forgery {
  readonly subject?: string;
  readonly names?: readonly string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

/** A leaf that whoever holds `pem`, the identity of `service`, can sign: whatever it likes. With the chain for it. */
export function forgeLeaf(
  pem: string,
  service: string,
  forgery: Forgery,
): { key: string; leaf: string; chain: string; ca: string[] } {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const leaf = writeCertificate({
    subject: forgery.subject ?? internalName(service),
    names: forgery.names ?? [internalName(service)],
    publicKey,
    issuer: { name: authorityName(service), privateKey: createPrivateKey(pem) },
    notBefore: forgery.notBefore ?? new Date(Date.now() - 60_000),
    notAfter: forgery.notAfter ?? new Date(Date.now() + 60_000),
    purposes: ["server", "client"],
  });
  const [authority = "", ...roots] = certificatesOf(pem);
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return { key, leaf, chain: leaf + authority, ca: roots };
}

/** Connection options of somebody who shows a forged leaf and believes any server. */
export function forgedClient(pem: string, service: string, forgery: Forgery, server: string): ConnectionOptions {
  const { key, chain } = forgeLeaf(pem, service, forgery);
  return { key, cert: chain, servername: internalName(server), rejectUnauthorized: false };
}

export function certificatesOf(pem: string): string[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/g) ?? []).map((text) =>
    new X509Certificate(text).toString(),
  );
}
