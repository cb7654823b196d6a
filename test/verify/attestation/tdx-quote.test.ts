import assert from "node:assert/strict";
import test from "node:test";
import { readSgxExtension } from "../../../verify/attestation/sgx-extension.ts";
import { isTdxQuote, parseTdxQuote } from "../../../verify/attestation/tdx-quote.ts";
import {
  MR_TD,
  PCE_SVN,
  PPID,
  RTMRS,
  SGX_COMPONENTS,
  sgxExtension,
  TDX_FMSPC,
} from "../../../verify/attestation/tdx-simulator.ts";
import { tdxPlatform } from "./tdx-evidence.ts";

const MALFORMED = { code: "ATTEST_REPORT_MALFORMED" };
const good = tdxPlatform.quote();
const edited = (change: (quote: Buffer) => void): Buffer => {
  const quote = Buffer.from(good);
  change(quote);
  return quote;
};

test("quotes of version 4 and 5, with the short and the long TD report, are read", () => {
  for (const [fields, bytes, isLong] of [
    [{ version: 4 }, 48 + 584, false],
    [{ version: 5, body: "td-1.0" }, 54 + 584, false],
    [{ version: 5 }, 54 + 648, true],
  ] as const) {
    const quote = parseTdxQuote(tdxPlatform.quote(fields));
    assert.equal(quote.version, fields.version);
    assert.equal(quote.signed.length, bytes);
    assert.deepEqual([quote.td.mrTd, ...quote.td.rtmrs], [MR_TD, ...RTMRS]);
    assert.equal(quote.td.later !== null, isLong);
  }
});

test("zeros may follow a quote, as the kernel gives them, and nothing else", () => {
  const padded = Buffer.concat([good, Buffer.alloc(70)]);
  assert.deepEqual(parseTdxQuote(padded).bytes, good);
  padded[padded.length - 1] = 1;
  assert.throws(() => parseTdxQuote(padded), MALFORMED);
});

test("a quote that is cut anywhere is refused, and never crashes the reader", () => {
  for (let length = 0; length < good.length; length += 1) {
    assert.throws(() => parseTdxQuote(good.subarray(0, length)), /ATTEST_|quote:/, `${length} bytes`);
  }
});

test("another version, key type, TEE, enclave's vendor or body is refused by name", () => {
  assert.throws(() => parseTdxQuote(edited((quote) => quote.writeUInt16LE(3, 0))), { code: "ATTEST_REPORT_VERSION" });
  assert.throws(() => parseTdxQuote(edited((quote) => quote.writeUInt16LE(3, 2))), MALFORMED);
  const sgx = edited((quote) => quote.writeUInt32LE(0, 4));
  assert.throws(() => parseTdxQuote(sgx), /TEE type 0x0/);
  assert.equal(isTdxQuote(sgx), false);
  assert.equal(isTdxQuote(good), true);
  assert.throws(() => parseTdxQuote(edited((quote) => quote.writeUInt8(1, 8))), MALFORMED);
  assert.throws(() => parseTdxQuote(edited((quote) => quote.writeUInt8(0, 12))), /not Intel's/);
  const long = tdxPlatform.quote({ version: 5 });
  long.writeUInt16LE(1, 48);
  assert.throws(() => parseTdxQuote(long), /got a body of type 1/);
  assert.throws(() => parseTdxQuote(Buffer.alloc(16 * 1024 + 1)), /want at most/);
});

test("lengths that lie and certification data of another kind are refused", () => {
  const at = 48 + 584;
  assert.throws(() => parseTdxQuote(edited((quote) => quote.writeUInt32LE(0xffff_ffff, at))), MALFORMED);
  const outer = at + 4 + 128;
  assert.throws(() => parseTdxQuote(edited((quote) => quote.writeUInt16LE(5, outer))), /type 5, want 6/);
  const inner = outer + 6 + 384 + 64 + 2 + 32;
  assert.throws(() => parseTdxQuote(edited((quote) => quote.writeUInt16LE(1, inner))), /type 1, want 5/);
  assert.throws(() => parseTdxQuote(edited((quote) => quote.writeUInt32LE(1, inner + 2))), /bytes follow/);
  assert.throws(() => parseTdxQuote(edited((quote) => quote.writeUInt8(1, outer + 6 + 20))), /reserved byte/);
});

test("what a platform's certificate says is read, with and without a configuration", () => {
  const read = readSgxExtension(sgxExtension({ smtEnabled: true }));
  assert.deepEqual(read, {
    ppid: PPID,
    components: SGX_COMPONENTS,
    pceSvn: PCE_SVN,
    pceId: "0000",
    fmspc: TDX_FMSPC,
    smtEnabled: true,
  });
  assert.equal(readSgxExtension(sgxExtension({ smtEnabled: null })).smtEnabled, null);
  assert.equal(readSgxExtension(sgxExtension({ pceSvn: 0xfffe })).pceSvn, 0xfffe);
  const malformed = { code: "ATTEST_CERTIFICATE_MALFORMED" };
  assert.throws(() => readSgxExtension(undefined), malformed);
  const der = sgxExtension({});
  for (let length = 0; length < der.length; length += 1) {
    assert.throws(() => readSgxExtension(der.subarray(0, length)), malformed);
  }
  assert.throws(() => readSgxExtension(sgxExtension({ components: SGX_COMPONENTS.slice(1) })), malformed);
});
