/**
 * What the fuzzer (test/long/fuzz.test.ts) and a short seeded run (test/fuzz-targets.test.ts) feed bytes to:
 * each parser of something from outside. A target throws only for a finding. A parser may refuse with its own
 * coded error and with nothing else; what it accepts must mean one thing only, where that can be said.
 */
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { otherSpelling, withLowS } from "../../bundles/layout/ecdsa-signature.ts";
import { INDEX_FILE } from "../../bundles/layout/layout.ts";
import { paddedSize, renderEnd, renderHeader, scanTar } from "../../bundles/layout/tar-format.ts";
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { duplicateMember } from "../../bundles/model/duplicate-member.ts";
import { unfitForCanonicalJson } from "../../bundles/model/json-limits.ts";
import { PREDICATE_SLSA_PROVENANCE } from "../../bundles/model/media-types.ts";
import { parseImageConfig, parseIndex, parseManifest } from "../../bundles/model/oci.ts";
import { readOvmf } from "../../bundles/model/ovmf.ts";
import { parsePublicKey } from "../../bundles/model/public-key.ts";
import { parseReleaseManifest } from "../../bundles/model/release-manifest.ts";
import { releaseInputs, renderReleaseProvenance } from "../../bundles/model/release-provenance.ts";
import { measureTd } from "../../bundles/model/td-measurement.ts";
import { readTdvf } from "../../bundles/model/tdvf.ts";
import { parseDetachedFile } from "../../bundles/sign/detached-file.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { parseTrustMetadata } from "../../bundles/sign/trust-metadata.ts";
import { parseReference } from "../../bundles/source/registry-reference.ts";
import { parseInventory, renderInventory } from "../../bundles/transfer/inventory.ts";
import { HEADER_BYTES, md5, parseHeader, parseSet, renderSet } from "../../bundles/transfer/par2-packet.ts";
import { CheckpointError, readCheckpoint, signCheckpoint } from "../../compose/services/audit/src/checkpoint.ts";
import { decodeEntries, encodedSize } from "../../compose/services/audit/src/tile-path.ts";
import { clientAddress, ProxyHeaderError, restLength } from "../../compose/services/service-kit/src/proxy-protocol.ts";
import { parseRequest } from "../../installer/lifecycle/authorization.ts";
import { parseJournal } from "../../installer/lifecycle/journal.ts";
import { parseLedger } from "../../installer/lifecycle/ledger.ts";
import { parseSshSignature } from "../../installer/lifecycle/sshsig.ts";
import { parseSigners } from "../../installer/site/allowed-signers.ts";
import { compareDebianVersions, parseDebianVersion } from "../../sbom/debian-version.ts";
import { parseSbom } from "../../sbom/document.ts";
import { catalogApk } from "../../sbom/generate/apk.ts";
import { readDebianCopyright } from "../../sbom/generate/debian-licences.ts";
import { parseControl } from "../../sbom/generate/dpkg.ts";
import type { FileNode, FileTree } from "../../sbom/generate/file-tree.ts";
import { readJavaArchive } from "../../sbom/generate/java-archive.ts";
import { parseOsRelease } from "../../sbom/generate/os-release.ts";
import { TarReader } from "../../sbom/generate/tar-reader.ts";
import { cvssScore } from "../../sbom/scan/cvss.ts";
import { parseOsvRecord } from "../../sbom/scan/osv-record.ts";
import { imageDigest, versionedPurl } from "../../sbom/scan/purl-match.ts";
import { readVex } from "../../sbom/scan/vex.ts";
import { isSpdxExpression } from "../../sbom/spdx.ts";
import { bufferAccess, readZipMember, zipMembers } from "../../sbom/zip-reader.ts";
import { parseAzureEnvelope } from "../../verify/attestation/azure-hcl.ts";
import { readCertificates, readRevocationList } from "../../verify/attestation/certificate.ts";
import { readCertificateTable } from "../../verify/attestation/certificate-table.ts";
import { checkCollateral } from "../../verify/attestation/collateral-check.ts";
import { readCollateralKit, writeCollateralKit } from "../../verify/attestation/collateral-kit.ts";
import { addressesOf, needsOf, VENDORS_SERVERS } from "../../verify/attestation/collateral-needs.ts";
import { readCollateralRequest, writeCollateralRequest } from "../../verify/attestation/collateral-request.ts";
import { readEvidence, writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { readSgxExtension } from "../../verify/attestation/sgx-extension.ts";
import { parseSnpReport } from "../../verify/attestation/snp-report.ts";
import { readIntelDocument } from "../../verify/attestation/tdx-collateral.ts";
import { parseTdxQuote } from "../../verify/attestation/tdx-quote.ts";
import { sgxExtension, TDX_FMSPC } from "../../verify/attestation/tdx-simulator.ts";
import { parseTpmQuote } from "../../verify/attestation/tpm-quote.ts";
import { verifyVtpm } from "../../verify/attestation/verify-vtpm.ts";
import { parseHashRequest, parseJudgement } from "../../verify/cage/protocol.ts";
import type { ProvenanceOutcome } from "../../verify/checks/provenance-shape.ts";
import { checkReleaseProvenance } from "../../verify/checks/release-provenance.ts";
import type { Signed } from "../../verify/checks/signatures.ts";
import { DEFAULT_POLICY, parsePolicy } from "../../verify/policy.ts";
import { verifySimpleSigning } from "../../verify/signature/signature.ts";
import { parseSigstoreBundle } from "../../verify/signature/sigstore-bundle.ts";
import { parseStatement, signedPayload } from "../../verify/signature/statement.ts";
import { parseTrustedRoot } from "../../verify/signature/trusted-root.ts";
import { parseGeneralizedTime } from "../../verify/signature/witnesses.ts";
import { loadTrust } from "../../verify/trust/trust.ts";
import { simulator } from "../verify/attestation/evidence.ts";
import { attestationFuzzTargets } from "./attestation-fuzz-targets.ts";
import { AzureMachine, tpmQuote } from "./azure-machine.ts";
import { buildFuzzTargets } from "./build-fuzz-targets.ts";
import { filesFrom, intelAnswers, kitOf } from "./collateral-servers.ts";
import { fileFuzzTargets } from "./file-fuzz-targets.ts";
import { accepted, codes, type FuzzTarget } from "./fuzz-target.ts";
import { file, layer, OS_RELEASE, pax, symlink } from "./layer-tar.ts";
import { sbomFuzzTargets } from "./sbom-fuzz-targets.ts";
import { osvRecord, sbomWith } from "./scan-inputs.ts";
import { serviceFuzzTargets } from "./service-fuzz-targets.ts";
import { makeSigners, type Signer, SMALL_NOW, signedBundle, signedFiles, smallTrust } from "./signed-bundle.ts";
import { siteFuzzTargets } from "./site-fuzz-targets.ts";
import { renderTar, SMALL_BUILDER } from "./small-bundle.ts";
import { smallTdvf } from "./small-tdvf.ts";
import { makeSigner, sshSign } from "./ssh-signer.ts";
import { TDX_FROM, TdxPlatform } from "./tdx-platform.ts";
import { makeKey, trustKeyOf } from "./test-trust.ts";
import { verifyFuzzTargets } from "./verify-fuzz-targets.ts";
import { zipFile } from "./zip-file.ts";

const text = (data: Buffer): string => data.toString("utf8");
const lines = (data: Buffer): string[] => text(data).split("\n");

function jsonOf(data: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch {
    return undefined;
  }
}

const signers = makeSigners();
const key = makeKey();
const signed = signedBundle({ signers });
const bundleFiles = signedFiles(signed);
const blobs = bundleFiles.map(([, bytes]) => bytes);
const jsonBlobs = blobs.filter((bytes) => bytes[0] === 0x7b);
const withMember = (member: string): Buffer[] => jsonBlobs.filter((bytes) => bytes.includes(`"${member}":`));
const trustFiles = smallTrust(signers);
const statement = statementFor(digestOf("x"), "https://example.invalid/p", { a: [1, "b"] });
const sigstoreBundle = signStatement(key, statement);
const checkpointKey = generateKeyPairSync("ed25519").privateKey;
const checkpointSigner = { origin: "example.invalid/log", privateKey: checkpointKey };
const publicPem = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "pem", type: "spki" });
const operator = makeSigner();
const [builder] = signers.builder as [Signer];
const builderSaid: Signed = {
  subject: signed.small.release.descriptor.digest,
  predicateType: PREDICATE_SLSA_PROVENANCE,
  predicate: digestOf("x"),
  role: "builder",
  key: trustKeyOf(builder.key, builder.holder),
  object: digestOf("x"),
};
const digest = `sha256:${"0".repeat(64)}`;
const journalLines = [
  {
    ...{ type: "begin", schemaVersion: 1, id: "0".repeat(32), operation: "two", parameters: {} },
    ...{ steps: ["first"], authorization: digest, time: "2026-11-21T08:00:00.000Z" },
  },
  { type: "intent", step: "first", intent: "x", time: "2026-11-21T08:00:00.000Z" },
  { type: "end", result: "committed", time: "2026-11-21T08:00:00.000Z" },
];

/** A journal of these lines with the checksums that its writer would give them, so that the fuzzer gets past them. */
function sealedJournal(bodies: readonly string[]): Buffer {
  let before = "";
  const sealed = bodies.map((body) => {
    before = createHash("sha256").update(before).update(body).digest("hex");
    return `${before} ${body}\n`;
  });
  return Buffer.from(sealed.join(""));
}

function readLayerTar(data: Buffer, pieces: number): string {
  let seen = "";
  const reader = new TarReader({
    onEntry: (header) => {
      seen += JSON.stringify(header);
      return (chunk) => {
        seen += Buffer.from(chunk).toString("hex");
      };
    },
    onEntryEnd: () => {
      seen += "|";
    },
  });
  for (let at = 0; at < data.length; at += pieces) reader.write(data.subarray(at, at + pieces));
  reader.end();
  return seen;
}

function onlyFile(path: string, content: Buffer): FileTree {
  const node = { kind: "file", content, layer: 0 } as unknown as FileNode;
  return {
    lookup: (asked: string) => (asked === path ? node : undefined),
    lookupLink: () => undefined,
  } as unknown as FileTree;
}

const zipSeeds = [
  zipFile([{ name: "META-INF/MANIFEST.MF", content: "Implementation-Title: a\nImplementation-Version: 1\n" }]),
  zipFile([
    {
      name: "META-INF/maven/g/a/pom.properties",
      content: "groupId=g\nartifactId=a\nversion=1\n",
    },
    { name: "lib/inner.jar", content: zipFile([{ name: "x", content: "y" }]) },
  ]),
];

const tdxPlatform = new TdxPlatform();
const azure = new AzureMachine(simulator());
const vtpmQuote = azure.quote();
const VENDORS = Object.values(VENDORS_SERVERS).map((url) => new URL(url).host);
const tdxNeeds = needsOf(tdxPlatform.quote());
const smallKit = kitOf(operator, tdxNeeds, TDX_FROM, filesFrom(intelAnswers(tdxPlatform, TDX_FMSPC), tdxNeeds));

/** A PAR2 packet's header, and its body as each of the packets that describe a set. */
const par2 = (data: Buffer): void => {
  const body = Buffer.concat([data, Buffer.alloc(HEADER_BYTES)]);
  parseHeader(body);
  const byId = new Map([[body.subarray(12, 28).toString("hex"), body]]);
  parseSet(body, byId, byId);
};
const par2File = { name: "a.part01-of-01", size: 8, md5: md5(), md5OfStart: md5(), blocks: [{ md5: md5(), crc: 0 }] };

export const fuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  ...attestationFuzzTargets,
  ...buildFuzzTargets,
  ...fileFuzzTargets,
  ...sbomFuzzTargets,
  ...serviceFuzzTargets,
  ...siteFuzzTargets,
  ...verifyFuzzTargets,
  inventory: codes((data) => parseInventory(data, "x"), renderInventory([digestOf("a"), digestOf("b")])),
  "PAR2 packet": { seeds: [renderSet({ blockBytes: 8, files: [par2File] })], run: par2 },
  "sigstore bundle": {
    seeds: [sigstoreBundle, ...withMember("dsseEnvelope").slice(0, 2)],
    run: (data) => {
      const bundle = accepted(() => parseSigstoreBundle(data));
      if (bundle) accepted(() => signedPayload(bundle));
    },
  },
  "in-toto statement": {
    seeds: [statement],
    run: (data) => {
      const said = accepted(() => parseStatement(data));
      // What is said in it is compared by its digest.
      if (said) canonicalJson(said.predicate);
    },
  },
  "release provenance": {
    seeds: [canonicalJson(renderReleaseProvenance(signed.small.release.manifest, SMALL_BUILDER))],
    run: (data) => {
      const release = signed.small.release.manifest;
      const [outcome] = checkReleaseProvenance({
        ...{ release, policy: DEFAULT_POLICY, locked: new Set(), images: [] },
        statements: [{ ...builderSaid, said: jsonOf(data) }],
      });
      const { finding, made } = outcome as ProvenanceOutcome;
      assert.equal(finding.status === "pass", made !== undefined);
      // Nothing may be an input that is not a part of this release, whatever else the statement says.
      if (made) assert.equal(made.inputs, releaseInputs(release).length + 1);
    },
  },
  "spelling of a signature": {
    seeds: [sign("sha256", statement, key), otherSpelling(sign("sha256", statement, key))],
    run: (data) => {
      const low = withLowS(data);
      assert.deepEqual(withLowS(low), low);
      if (!low.equals(data)) assert.deepEqual(withLowS(otherSpelling(low)), low);
    },
  },
  "simple signing": codes(
    (data) => verifySimpleSigning(data, "AAAA", [trustKeyOf(key, "a")]),
    Buffer.from(
      JSON.stringify({
        critical: {
          identity: { "docker-reference": "x" },
          image: { "docker-manifest-digest": digest },
          type: "cosign container image signature",
        },
      }),
    ),
  ),
  "TUF metadata": {
    seeds: [...trustFiles.values()],
    run: (data) => {
      const names = [...trustFiles.keys()];
      for (const name of names) {
        const files = new Map(trustFiles).set(name, data);
        if (!accepted(() => loadTrust(files, new Date(SMALL_NOW)))) continue;
        const read = (from: typeof files): string =>
          canonicalJson([...parseTrustMetadata(from)].map(([, { signed: said }]) => said.toJSON())).toString();
        assert.equal(read(files), read(trustFiles), "another trust than the one signed");
      }
    },
  },
  "trusted root": codes(
    parseTrustedRoot,
    Buffer.from('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"ctlogs":[]}'),
  ),
  "OCI index": codes(parseIndex, ...withMember("manifests")),
  "OCI manifest": codes(parseManifest, ...withMember("layers").slice(0, 3)),
  "image configuration": codes(parseImageConfig, ...withMember("rootfs").slice(0, 2)),
  "release manifest": codes(parseReleaseManifest, ...withMember("upgradeFrom")),
  "bundle's tar": {
    seeds: [renderTar(bundleFiles.slice(0, 2)), renderTar([[INDEX_FILE, Buffer.from("{}")]])],
    run: (data) => {
      const readAt = (buffer: Uint8Array, position: number): number =>
        data.copy(buffer, 0, position, Math.min(data.length, position + buffer.length));
      const entries = accepted(() => scanTar(readAt, data.length));
      if (!entries) return;
      const again = entries.flatMap(({ name, size, position }) => [
        ...[renderHeader(name, size), data.subarray(position, position + size)],
        Buffer.alloc(paddedSize(size) - size),
      ]);
      assert.ok(Buffer.concat([...again, renderEnd()]).equals(data), "a byte that no entry accounts for");
    },
  },
  "layer's tar": {
    seeds: [
      layer(file("etc/os-release", OS_RELEASE), symlink("a", "../b")),
      layer(pax({ path: "long/name", size: "3" }), file("x", "abc")),
    ],
    run: (data) => {
      const whole = accepted(() => readLayerTar(data, Math.max(1, data.length)));
      const bytewise = data.length < 4096 ? accepted(() => readLayerTar(data, 7)) : whole;
      // The pieces that content comes in are no matter; a refusal may come later in one than in the other.
      if (whole !== undefined && bytewise !== undefined) assert.equal(bytewise, whole);
    },
  },
  zip: {
    seeds: zipSeeds,
    run: (data) => {
      const zip = bufferAccess(data);
      accepted(() => {
        for (const member of zipMembers(zip)) {
          const content = accepted(() => readZipMember(zip, member, 64 * 1024));
          assert.ok((content?.length ?? 0) <= 64 * 1024);
        }
      });
    },
  },
  "Java archive": {
    seeds: zipSeeds,
    // "Never throws", and so not even a coded error.
    run: (data) => void readJavaArchive(data, "a-1.0.jar"),
  },
  "canonical JSON": {
    seeds: [statement, Buffer.from('{"a":[1,-0,1e21,"\\u20ac\\ud83d\\ude00",null,true]}'), ...jsonBlobs.slice(0, 2)],
    run: (data) => {
      const value = jsonOf(data);
      if (value === undefined || unfitForCanonicalJson(value) !== undefined) return;
      const canonical = canonicalJson(value);
      assert.deepEqual(canonicalJson(parseCanonicalJson(canonical)), canonical);
      assert.equal(duplicateMember(canonical.toString()), undefined);
    },
  },
  "duplicate members": {
    seeds: [Buffer.from('{"a":{"b":1,"\\u0062":2},"c":["a","a"]}')],
    run: (data) => {
      const value = jsonOf(data);
      if (value === undefined || unfitForCanonicalJson(value) !== undefined) return;
      const strings = text(data).matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/gs);
      const named = [...strings].filter(([, colon]) => colon !== undefined).length;
      // The reviver is called once for a member that is there twice.
      let members = 0;
      JSON.parse(text(data), function (this: unknown, name, item) {
        if (!Array.isArray(this) && !(name === "" && !Object.hasOwn(this as object, ""))) members += 1;
        return item as unknown;
      });
      const isTwice = duplicateMember(text(data)) !== undefined;
      // The reviver sees the root under the name "" too.
      assert.equal(isTwice, named !== members - 1, `${named} names, ${members - 1} members`);
    },
  },
  "dpkg control": codes(
    (data) => parseControl(text(data), "status"),
    Buffer.from("Package: a\nStatus: install ok installed\nVersion: 1:2.3-4\nDepends: b (>= 1),\n c\n\nPackage: b\n"),
  ),
  "apk database": codes(
    (data) => catalogApk(onlyFile("lib/apk/db/installed", data), { id: "alpine" } as never),
    Buffer.from("C:Q1aa=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\np:so:libc.musl=1\nF:lib\nR:ld-musl.so.1\n\nP:b\nV:1\n"),
  ),
  "os-release": codes((data) => parseOsRelease(text(data)), Buffer.from(OS_RELEASE)),
  "debian copyright": codes(
    (data) => readDebianCopyright(text(data)),
    Buffer.from(
      "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: MIT\n",
    ),
  ),
  "package URL": {
    seeds: ["pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=jessie", "pkg:oci/a@sha256%3A00", "pkg:npm/%40a/b@1#x"].map(
      (one) => Buffer.from(one),
    ),
    run: (data) => {
      const once = versionedPurl(text(data));
      if (once !== undefined) assert.equal(versionedPurl(once), once);
      imageDigest(text(data));
    },
  },
  CVSS: {
    seeds: ["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", "AV:N/AC:L/Au:N/C:P/I:P/A:P"].map((one) =>
      Buffer.from(one),
    ),
    run: (data) => {
      const score = cvssScore(text(data));
      assert.ok(score === undefined || (score >= 0 && score <= 10), `score ${score}`);
    },
  },
  "OSV record": codes((data) => parseOsvRecord(text(data)), Buffer.from(JSON.stringify(osvRecord()))),
  "Debian version": {
    seeds: ["1:2.30-1\n2.30~rc1\n0", "1.0-1+b1\n1.0-1\n1.0~~"].map((one) => Buffer.from(one)),
    run: (data) => {
      const versions = lines(data)
        .slice(0, 4)
        .flatMap((line) => parseDebianVersion(line) ?? []);
      for (const a of versions) {
        assert.equal(compareDebianVersions(a, a), 0);
        for (const b of versions) {
          const order = Math.sign(compareDebianVersions(a, b));
          assert.equal(order + Math.sign(compareDebianVersions(b, a)), 0);
          for (const c of versions) {
            if (order > 0 && compareDebianVersions(b, c) > 0) assert.ok(compareDebianVersions(a, c) > 0);
          }
        }
      }
    },
  },
  "SPDX expression": {
    seeds: ["MIT AND (Apache-2.0 OR GPL-2.0-or-later WITH Classpath-exception-2.0)"].map((one) => Buffer.from(one)),
    run: (data) => void isSpdxExpression(text(data)),
  },
  SBOM: codes(parseSbom, sbomWith(["pkg:deb/debian/a@1"])),
  VEX: codes(
    (data) => readVex(data, { name: "vex.json" } as never),
    Buffer.from(
      '{"@context":"https://openvex.dev/ns/v0.2.0","statements":[{"vulnerability":{"name":"CVE-1"},"status":"fixed"}]}',
    ),
  ),
  "SNP report": {
    seeds: [2, 3, 5].map((version) => {
      const report = Buffer.alloc(1184);
      report.writeUInt32LE(version, 0);
      report.writeUInt32LE(1, 0x34);
      report[0x188] = 0x19;
      return report;
    }),
    run: (data) => {
      accepted(() => parseSnpReport(data));
    },
  },
  "TDX quote": codes(parseTdxQuote, tdxPlatform.quote(), tdxPlatform.quote({ version: 5 })),
  "SGX extension": codes(readSgxExtension, sgxExtension({ smtEnabled: true }), sgxExtension({ smtEnabled: null })),
  "Intel's document": {
    seeds: [tdxPlatform.tcbInfo(), tdxPlatform.enclaveIdentity()],
    run: (data) => {
      const read = accepted(() => readIntelDocument(data));
      // What is signed is a part of the file, and the only one that says anything.
      if (read) assert.deepEqual(JSON.parse(read.signed.toString()), read.document);
    },
  },
  "certificate table": codes(readCertificateTable, Buffer.alloc(48)),
  certificates: codes(readCertificates, Buffer.from("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")),
  "revocation list": codes(readRevocationList, Buffer.from("30023000", "hex")),
  evidence: codes(
    readEvidence,
    Buffer.alloc(1184),
    azure.evidence(),
    writeCollectedEvidence("tdx_guest", tdxPlatform.quote(), Buffer.alloc(0)),
  ),
  "Azure envelope": codes(parseAzureEnvelope, azure.envelope()),
  "Azure runtime data": codes((runtimeData) => verifyVtpm({ ...vtpmQuote, runtimeData }), azure.runtimeData()),
  "TPM quote": codes(parseTpmQuote, vtpmQuote.quote, tpmQuote({ extraData: Buffer.alloc(0), pcrs: [] })),
  "TPM quote's signature": codes(
    (signature) => verifyVtpm({ ...vtpmQuote, signature, runtimeData: azure.runtimeData() }),
    vtpmQuote.signature,
    Buffer.concat([Buffer.from("0014000b0100", "hex"), vtpmQuote.signature]),
  ),
  "collateral needs": {
    seeds: [writeCollateralRequest([...needsOf(simulator().report()), ...needsOf(tdxPlatform.quote())])],
    run: (data) => {
      const needs = accepted(() => readCollateralRequest(data));
      for (const need of needs ?? []) {
        const addresses = addressesOf(need).map(({ url }) => new URL(url));
        assert.ok(
          addresses.every(({ host }) => VENDORS.includes(host)),
          "no list of needs leads anywhere else",
        );
      }
    },
  },
  "collateral kit": {
    seeds: [smallKit],
    run: (data) => {
      const kit = accepted(() => readCollateralKit(data));
      if (kit) assert.deepEqual(writeCollateralKit(kit), data, "two kits that say the same");
      if (kit) accepted(() => checkCollateral(kit.files, kit.statement.needs, new Date(kit.statement.fetched), null));
    },
  },
  OVMF: codes(readOvmf, Buffer.alloc(4096)),
  "firmware for TDX": codes((data) => measureTd(readTdvf(data), "page-by-page"), smallTdvf()),
  "SSH signature": {
    seeds: [sshSign(operator, Buffer.from("x")), sshSign(makeSigner("sk-ssh-ed25519@openssh.com"), Buffer.from("x"))],
    run: (data) => {
      accepted(() => parseSshSignature(data, "a.sig"));
      const wire = data.toString("base64").match(/.{1,70}/g) ?? [];
      const armored = `-----BEGIN SSH SIGNATURE-----\n${wire.join("\n")}\n-----END SSH SIGNATURE-----\n`;
      accepted(() => parseSshSignature(Buffer.from(armored), "a.sig"));
    },
  },
  "allowed signers": codes(
    (data) => parseSigners(text(data), "operators"),
    Buffer.from(`ada namespaces="sealift-authorization" ssh-ed25519 ${operator.blob.toString("base64")}\n`),
  ),
  "authorization request": codes(parseRequest, Buffer.from("{}")),
  "signature file": codes((data) => parseDetachedFile(data, "a.sig.json"), Buffer.from("{}")),
  journal: {
    seeds: [Buffer.from(journalLines.map((line) => canonicalJson(line).toString()).join("\n"))],
    run: (data) => {
      accepted(() => parseJournal(data));
      const sealed = sealedJournal(lines(data));
      const journal = accepted(() => parseJournal(sealed));
      if (journal) assert.equal(journal.validBytes + journal.tornBytes, sealed.length);
    },
  },
  ledger: codes((data) => parseLedger(data), Buffer.from('{"seq":1,"prev":null}\n')),
  "audit checkpoint": {
    seeds: [signCheckpoint(checkpointSigner, { size: 7, root: Buffer.alloc(32, 1) })],
    run: (data) => {
      const found = accepted(() => readCheckpoint(checkpointSigner, data), CheckpointError);
      // Only what the key signed counts; the bytes around it may change.
      if (found) assert.deepEqual(found, { size: 7, root: Buffer.alloc(32, 1) });
    },
  },
  "audit entries": {
    seeds: [Buffer.from([0, 3, 97, 98, 99, 0, 0])],
    run: (data) => {
      const entries = decodeEntries(data);
      if (entries) assert.equal(encodedSize(entries), data.length);
    },
  },
  "PROXY header": {
    seeds: [Buffer.from("0d0a0d0a000d0a515549540a2111000c7f0000017f00000100500051", "hex")],
    run: (data) => {
      if (data.length < 16) return;
      const fixed = data.subarray(0, 16);
      const rest = accepted(() => restLength(fixed), ProxyHeaderError);
      if (rest === undefined || data.length < 16 + rest) return;
      accepted(() => clientAddress(fixed, data.subarray(16, 16 + rest)), ProxyHeaderError);
    },
  },
  "public key": codes((data) => parsePublicKey(data.toString("latin1"), "a.pub"), Buffer.from(publicPem)),
  "image reference": codes(
    (data) => parseReference(text(data)),
    Buffer.from(`registry.example:5000/a/b:1.0@${digest}`),
    Buffer.from("busybox"),
  ),
  policy: codes(parsePolicy, canonicalJson({ schemaVersion: 1, name: "x" })),
  "caged answers": {
    seeds: [Buffer.from('{"tasks":[{"digest":"x","extents":[{"fd":3,"position":0,"length":1}]}]}')],
    run: (data) => {
      accepted(() => parseHashRequest(text(data)));
      accepted(() => parseJudgement(text(data), "n"));
    },
  },
  "RFC 3161 time": {
    seeds: [Buffer.from("20260102030405.123456789Z")],
    run: (data) => {
      const time = accepted(() => parseGeneralizedTime(text(data)), RangeError);
      if (time) assert.equal(time.toISOString().slice(0, 4), text(data).slice(0, 4));
    },
  },
};
