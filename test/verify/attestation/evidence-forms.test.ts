import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { guidBytes } from "../../../bundles/model/guid.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import { parseAzureEnvelope } from "../../../verify/attestation/azure-hcl.ts";
import { readCertificateTable } from "../../../verify/attestation/certificate-table.ts";
import { readEvidence, writeCollectedEvidence } from "../../../verify/attestation/evidence.ts";
import { coded } from "../../support/test-trust.ts";
import {
  failures,
  SIMULATED_AT,
  SIMULATED_MEASUREMENT,
  simulatedCollateral,
  simulatedPolicy,
  simulator,
} from "./evidence.ts";

const MALFORMED = coded("ATTEST_EVIDENCE_MALFORMED");

const GUIDS = {
  vcek: "63da758d-e664-4564-adc5-f4b93be8accd",
  ask: "4ab7b379-bbac-4fe4-a02f-05aef327c782",
  ark: "c0b406a4-a803-4952-9743-3fb6014cd0ae",
} as const;

function certificateTable(parts: readonly (readonly [guid: string, bytes: Buffer])[]): Buffer {
  const headerBytes = 24 * (parts.length + 1);
  let offset = headerBytes;
  const header = parts.map(([guid, bytes]) => {
    const entry = Buffer.alloc(24);
    guidBytes(guid).copy(entry);
    entry.writeUInt32LE(offset, 16);
    entry.writeUInt32LE(bytes.length, 20);
    offset += bytes.length;
    return entry;
  });
  return Buffer.concat([...header, Buffer.alloc(24), ...parts.map(([, bytes]) => bytes)]);
}

test("the host's certificate table gives leaf and intermediate, and never a root", () => {
  const by = simulator();
  const leaf = by.leafCertificate();
  const table = certificateTable([
    [GUIDS.ark, by.rootCertificate],
    [GUIDS.ask, by.intermediateCertificate],
    [GUIDS.vcek, leaf],
  ]);
  assert.deepEqual(readCertificateTable(table), [by.intermediateCertificate, leaf]);
  const evidence = writeCollectedEvidence("sev_guest", by.report({ measurement: SIMULATED_MEASUREMENT }), table);
  const judge = (collateral: { name: string; bytes: Buffer }[]) =>
    appraiseEvidence({
      evidence,
      collateral,
      policyBytes: canonicalJson(simulatedPolicy(by)),
      nonce: null,
      time: { at: SIMULATED_AT, source: "option" },
    });
  assert.equal(judge([{ name: "ark.der", bytes: by.rootCertificate }]).decision, "simulated");
  assert.deepEqual(failures(judge([])), { chain: "ATTEST_CERTIFICATE_MISSING" }, "the host's root is not taken");
});

test("an empty table has no certificates, and a table that lies is refused", () => {
  assert.deepEqual(readCertificateTable(Buffer.alloc(0)), []);
  const good = certificateTable([[GUIDS.vcek, Buffer.alloc(100, 1)]]);
  const changed = (offset: number, value: number): Buffer => {
    const table = Buffer.from(good);
    table.writeUInt32LE(value, offset);
    return table;
  };
  for (const table of [
    Buffer.alloc(16 * 1024 + 1),
    Buffer.alloc(23),
    good.subarray(0, 24),
    changed(16, good.length),
    changed(16, 0xffff_ffff),
    changed(20, 0xffff_ffff),
    changed(20, 0),
    certificateTable(Array.from({ length: 20 }, () => [GUIDS.vcek, Buffer.alloc(1)] as const)),
  ]) {
    assert.throws(() => readCertificateTable(table), MALFORMED);
  }
});

function azureEnvelope(runtimeData: Buffer, edit: (envelope: Buffer) => void = () => {}): Buffer {
  const reportData = Buffer.alloc(64);
  createHash("sha256").update(runtimeData).digest().copy(reportData);
  const header = Buffer.alloc(32);
  header.write("HCLA", "latin1");
  const runtimeHeader = Buffer.alloc(20);
  runtimeHeader.writeUInt32LE(2, 8);
  runtimeHeader.writeUInt32LE(1, 12);
  runtimeHeader.writeUInt32LE(runtimeData.length, 16);
  const report = simulator().report({ measurement: SIMULATED_MEASUREMENT, reportData });
  const envelope = Buffer.concat([header, report, runtimeHeader, runtimeData, Buffer.alloc(200)]);
  edit(envelope);
  return envelope;
}

const RUNTIME_DATA = Buffer.from('{"keys":[]}');
const RUNTIME_HEADER_OFFSET = 32 + 1184;

test("Azure's envelope gives its report, whose REPORT_DATA names the runtime data, so no nonce of ours fits in", () => {
  const envelope = azureEnvelope(RUNTIME_DATA);
  assert.ok(parseAzureEnvelope(envelope).runtimeData.equals(RUNTIME_DATA));
  const by = simulator();
  const judge = (nonce: "required" | "unchecked") =>
    appraiseEvidence({
      evidence: envelope,
      collateral: simulatedCollateral(by),
      policyBytes: canonicalJson(simulatedPolicy(by, { nonce })),
      nonce: Buffer.alloc(32, 1),
      time: { at: SIMULATED_AT, source: "option" },
    });
  assert.equal(judge("unchecked").decision, "simulated");
  assert.deepEqual(failures(judge("required")), { nonce: "ATTEST_NONCE_MISSING" });
});

test("an envelope whose runtime data was changed, or which is cut or longer than it says, is refused", () => {
  const edits: readonly ((envelope: Buffer) => void)[] = [
    (envelope) => envelope.writeUInt8(0x5b, RUNTIME_HEADER_OFFSET + 20),
    (envelope) => envelope.writeUInt32LE(4, RUNTIME_HEADER_OFFSET + 8),
    (envelope) => envelope.writeUInt32LE(9, RUNTIME_HEADER_OFFSET + 12),
    (envelope) => envelope.writeUInt32LE(0, RUNTIME_HEADER_OFFSET + 16),
    (envelope) => envelope.writeUInt32LE(0xffff_ffff, RUNTIME_HEADER_OFFSET + 16),
    (envelope) => envelope.writeUInt8(1, envelope.length - 1),
  ];
  for (const edit of edits) assert.throws(() => parseAzureEnvelope(azureEnvelope(RUNTIME_DATA, edit)), MALFORMED);
  for (const length of [4, 32, RUNTIME_HEADER_OFFSET, RUNTIME_HEADER_OFFSET + 19]) {
    assert.throws(() => parseAzureEnvelope(azureEnvelope(RUNTIME_DATA).subarray(0, length)), MALFORMED);
  }
});

test("evidence in no known form is refused: other JSON, other spelling, nothing, too much", () => {
  const good = writeCollectedEvidence("sev_guest", simulator().report(), Buffer.alloc(0));
  const document = JSON.parse(good.toString()) as Record<string, unknown>;
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from("{}"),
    Buffer.from(`${good.toString()}\n`),
    Buffer.from(JSON.stringify({ ...document, schemaVersion: 2 })),
    canonicalJson({ ...document, extra: 1 }),
    canonicalJson({ ...document, report: "not base64" }),
    canonicalJson({ ...document, provider: "\u001b[2J" }),
    Buffer.alloc(64 * 1024 + 1),
  ]) {
    assert.throws(() => readEvidence(bytes), MALFORMED);
  }
});
