/** The same certificates and revocation lists, read by pkijs, which shares no code with what is tested. */
import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import test from "node:test";
import { Certificate, CertificateRevocationList, CryptoEngine, setEngine } from "pkijs";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import {
  isIssuedBy,
  isSignedBy,
  type ReadCertificate,
  readCertificates,
  readRevocationList,
} from "../../../verify/attestation/certificate.ts";
import { parseSnpReport } from "../../../verify/attestation/snp-report.ts";
import { verifySnpReport } from "../../../verify/attestation/verify-snp.ts";
import { SKIP, vector, vectorFile, vectors } from "./evidence.ts";

setEngine("node", new CryptoEngine({ name: "node", crypto: webcrypto as Crypto }));

const LISTS = [
  ["crl/milan_2025-05-06_n6.crl", "roots/milan_ark.der"],
  ["crl/genoa_2024-10-23_n4.crl", "roots/genoa_ark.der"],
] as const;

const one = (path: string): ReadCertificate => readCertificates(vectorFile(path))[0] as ReadCertificate;

/** Undefined if refused as malformed; anything else that is thrown is a defect. */
function orRefused<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (cause) {
    if (cause instanceof SealiftError) return undefined;
    throw cause;
  }
}

async function pkijsTakesList(list: Buffer, issuer: Buffer): Promise<boolean> {
  try {
    const issuerCertificate = Certificate.fromBER(Uint8Array.from(issuer));
    return await CertificateRevocationList.fromBER(Uint8Array.from(list)).verify({ issuerCertificate });
  } catch {
    return false;
  }
}

test("both read the same dates and serial numbers in AMD's revocation lists, and find them well signed", {
  skip: SKIP,
}, async () => {
  for (const [path, root] of LISTS) {
    const ours = readRevocationList(vectorFile(path));
    const theirs = CertificateRevocationList.fromBER(Uint8Array.from(vectorFile(path)));
    assert.equal(ours.thisUpdate.getTime(), theirs.thisUpdate.value.getTime());
    assert.equal(ours.nextUpdate.getTime(), theirs.nextUpdate?.value.getTime());
    const serials = (theirs.revokedCertificates ?? []).map(({ userCertificate }) =>
      Buffer.from(userCertificate.valueBlock.valueHexView).toString("hex").toUpperCase(),
    );
    assert.deepEqual([...ours.revokedSerials], serials);
    assert.ok(isSignedBy(ours, one(root).x509.publicKey));
    assert.ok(await pkijsTakesList(vectorFile(path), vectorFile(root)));
  }
});

test("of changed revocation lists none is taken that pkijs refuses", { skip: SKIP }, async () => {
  let refusedByBoth = 0;
  for (const [path, root] of LISTS) {
    const genuine = vectorFile(path);
    // A prime step reaches each part of the list.
    for (let at = 0; at < genuine.length; at += 13) {
      const changed = Buffer.from(genuine);
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      const list = orRefused(() => readRevocationList(changed));
      const taken = list !== undefined && isSignedBy(list, one(root).x509.publicKey);
      const takenByPkijs = await pkijsTakesList(changed, vectorFile(root));
      assert.ok(!taken || takenByPkijs, `${path} byte ${at}`);
      if (!taken && !takenByPkijs) refusedByBoth += 1;
    }
  }
  assert.ok(refusedByBoth > 50);
});

test("both agree who issued whom, for every pair of certificates there is", { skip: SKIP }, async () => {
  const roots = ["milan", "genoa", "turin"].flatMap((product) => [
    `${product}_ark`,
    `${product}_ask`,
    `${product}_asvk`,
  ]);
  const files = [...roots.map((name) => `roots/${name}.der`), ...vectors().map(({ files: { vek } }) => vek)];
  const certificates = files.map((path) => ({
    path,
    ours: one(path),
    theirs: Certificate.fromBER(Uint8Array.from(one(path).x509.raw)),
  }));
  let issued = 0;
  for (const subject of certificates) {
    for (const issuer of certificates.slice(0, roots.length)) {
      const names = subject.theirs.issuer.isEqual(issuer.theirs.subject);
      const theirs = names && (await subject.theirs.verify(issuer.theirs).catch(() => false));
      assert.equal(isIssuedBy(subject.ours, issuer.ours), theirs, `${subject.path} by ${issuer.path}`);
      if (theirs) issued += 1;
    }
  }
  // Nine authorities, and the leaves of five vectors: the wrong one's signature and the simulator's two do not hold.
  assert.equal(issued, 14);
});

test("a chip's certificate with a byte changed, here each fifth, proves nothing, and its reader never crashes", {
  skip: SKIP,
}, () => {
  const row = vector("milan-v2");
  const report = parseSnpReport(vectorFile(row.files.report));
  const authorities = [one("roots/milan_ark.der"), one("roots/milan_ask.der")];
  const genuine = vectorFile(row.files.vek);
  const isTaken = (bytes: Buffer): boolean => {
    const leaf = orRefused(() => readCertificates(bytes));
    const collateral = { certificates: [...(leaf ?? []), ...authorities], revocationLists: [] };
    return verifySnpReport(report, collateral, new Date(row.verifyAt), { kind: "amd" }).genuine !== null;
  };
  const accepted: number[] = [];
  for (let at = 0; at < genuine.length; at += 5) {
    const changed = Buffer.from(genuine);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    if (isTaken(changed)) accepted.push(at);
  }
  assert.deepEqual(accepted, []);
  assert.ok(isTaken(genuine));
});
