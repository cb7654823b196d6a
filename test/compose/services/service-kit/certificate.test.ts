import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import test from "node:test";
import { type CertificateFields, writeCertificate } from "../../../../compose/services/service-kit/src/certificate.ts";

const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });

function write(fields: Partial<CertificateFields> = {}): X509Certificate {
  const defaults: CertificateFields = {
    subject: "subject",
    publicKey,
    issuer: { name: "issuer", privateKey },
    notBefore: new Date("2026-01-01T00:00:00Z"),
    notAfter: new Date("2026-01-02T00:00:00Z"),
    purposes: ["server", "client"],
  };
  return new X509Certificate(writeCertificate({ ...defaults, ...fields }));
}

test("a certificate says what it was given, and its issuer signed it", () => {
  const certificate = write({ names: ["a.example", "10.1.2.3"] });
  assert.equal(certificate.subject, "CN=subject");
  assert.equal(certificate.issuer, "CN=issuer");
  assert.equal(certificate.subjectAltName, "DNS:a.example, IP Address:10.1.2.3");
  assert.equal(certificate.ca, false);
  assert.deepEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
  assert.ok(certificate.verify(publicKey));
  assert.ok(!certificate.verify(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey));
});

test("times are written to the second, on both sides of the years that change their form", () => {
  for (const text of [
    "1969-12-31T23:55:00",
    "1970-01-01T00:00:00",
    "2049-12-31T23:59:59",
    "2050-01-01T00:00:00",
    "9999-12-31T23:59:59",
  ]) {
    const time = new Date(`${text}Z`);
    const { validFromDate, validToDate, raw } = write({ notBefore: time, notAfter: new Date(time.getTime() + 999) });
    assert.equal(validFromDate.toISOString(), `${text}.000Z`);
    assert.equal(validToDate.toISOString(), `${text}.000Z`);
    // RFC 5280: two digits for the years that they can say, four for all others.
    const digits = `${text.replace(/[-:T]/g, "")}Z`;
    const year = Number(text.slice(0, 4));
    const wanted = year >= 1950 && year < 2050 ? `\x17\x0d${digits.slice(2)}` : `\x18\x0f${digits}`;
    assert.ok(raw.includes(Buffer.from(wanted, "latin1")), text);
  }
});

test("every way to write an IPv6 address is the same sixteen bytes", () => {
  const cases = [
    ["::", "0:0:0:0:0:0:0:0"],
    ["::1", "0:0:0:0:0:0:0:1"],
    ["1::", "1:0:0:0:0:0:0:0"],
    ["2001:DB8::A:0:1", "2001:DB8:0:0:0:A:0:1"],
    ["2001:0db8:0000:0000:0000:000a:0000:0001", "2001:DB8:0:0:0:A:0:1"],
    ["::ffff:10.1.2.3", "0:0:0:0:0:FFFF:A01:203"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
  ] as const;
  for (const [text, want] of cases) {
    assert.equal(write({ names: [text] }).subjectAltName, `IP Address:${want}`, text);
  }
});

test("serial numbers are positive, 16 bytes long and never the same", () => {
  const serials = new Set(Array.from({ length: 300 }, () => write().serialNumber));
  assert.equal(serials.size, 300);
  for (const serial of serials) assert.match(serial, /^[4-7][0-9A-F]{31}$/);
});

test("a certificate of any size is read: lengths of one, two and three bytes", () => {
  for (const count of [0, 1, 10, 100, 4000]) {
    const names = Array.from({ length: count }, (_, i) => `name-${i}.example`);
    const got = write({ names }).subjectAltName?.split(", ").length ?? 0;
    assert.equal(got, count);
  }
});

test("the common name has 1 to 64 characters", () => {
  assert.throws(() => write({ subject: "" }), RangeError);
  assert.throws(() => write({ subject: "a".repeat(65) }), RangeError);
  assert.equal(write({ subject: "a".repeat(64) }).subject, `CN=${"a".repeat(64)}`);
});
