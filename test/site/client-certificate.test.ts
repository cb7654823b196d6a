import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { writeCertificate, writeCertificateRequest } from "../../compose/services/service-kit/src/certificate.ts";
import {
  type CertificateChange,
  type CertificateWish,
  changeCertificate,
  forgetCertificate,
  type PlannedCertificate,
  planCertificate,
  restoreCertificate,
} from "../../installer/lifecycle/certificate-change.ts";
import {
  broughtPath,
  certificateProblems,
  type PresentCertificate,
  presentCertificate,
  readBroughtCertificate,
} from "../../installer/site/client-certificate.ts";
import type { Config } from "../../installer/site/config.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { type SecretSite, secretMakers } from "../../installer/site/secret-makers.ts";
import { statePaths } from "../../installer/site/state.ts";
import { FaultyDisk } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { coded, makeKey } from "../support/test-trust.ts";

const DAY_MS = 24 * 60 * 60_000;
const now = new Date("2026-11-21T08:00:00.000Z");
const days = (count: number): Date => new Date(now.getTime() + count * DAY_MS);
const rule = { kind: "server-certificate", directory: "gateway/tls", uid: 10_001 } as const;
const hostName = "box";
const NAMED: Config = { publicNames: ["ai.example.com"] };
const pemOf = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" }).toString();

/** A site with a certificate of its own for `config`. */
async function siteWith(t: Parameters<typeof scratch>[0], config: Config): Promise<SecretSite> {
  const directory = await scratch(t);
  for (const name of ["site", "secrets/gateway/tls"]) mkdirSync(join(directory, name), { recursive: true });
  const site: SecretSite = {
    disk: hostDisk,
    clock: () => ({ now, bootId: "boot", uptimeMs: 1 }),
    paths: statePaths(directory),
    siteId: "0123456789abcdef0123456789abcdef",
  };
  const [file] = await secretMakers(site, config).serverCertificate(rule);
  writeFileSync(join(directory, "secrets", file?.path ?? ""), file?.bytes ?? "");
  return site;
}

function present(site: SecretSite, config: Config | undefined, at = now): PresentCertificate {
  return presentCertificate(site.paths, [rule], config, { hostName, now: at }) ?? assert.fail();
}

/** A server's certificate by an authority of a customer's, and that one's by a root. */
function chainFor(names: readonly string[], { end = days(365), key = makeKey(), isAuthority = false } = {}) {
  const [rootKey, middleKey] = [makeKey(), makeKey()];
  const authority = { pathLength: 1, limits: { dns: ["example.com"], ip: [] } };
  const of = (subject: string, own: KeyObject, name: string, privateKey: KeyObject): string =>
    writeCertificate({
      subject,
      publicKey: createPublicKey(own),
      issuer: { name, privateKey },
      notBefore: days(-1),
      notAfter: subject === "server" ? end : days(3650),
      purposes: ["server"],
      ...(subject === "server" && !isAuthority ? { names } : { authority }),
    });
  return {
    key: pemOf(key),
    leaf: of("server", key, "Middle", middleKey),
    middle: of("Middle", middleKey, "Root", rootKey),
    root: of("Root", rootKey, "Root", rootKey),
  };
}

test("a certificate of the site's own is told from one that was brought", async (t) => {
  const site = await siteWith(t, NAMED);
  const own = present(site, NAMED);
  assert.deepEqual([own.isOwn, own.names, own.vouchedNames], [true, ["ai.example.com"], ["ai.example.com"]]);
  assert.equal(presentCertificate(site.paths, [], NAMED, { hostName, now }), undefined);
  const { key, leaf, middle } = chainFor(["ai.example.com"]);
  writeFileSync(join(site.paths.directory, "secrets/gateway/tls/server.pem"), key + leaf + middle);
  assert.equal(present(site, NAMED).isOwn, false);
  writeFileSync(join(site.paths.directory, "secrets/gateway/tls/server.pem"), "hello");
  const lost = present(site, NAMED);
  assert.match(certificateProblems(lost, now).problems.join(), /cannot be read: sealift tls renew/);
  assert.ok(planCertificate(lost, NAMED, { source: "own" }).change, "it can be mended");
});

test("an operator is told 30 days ahead, and when it is too late", async (t) => {
  const site = await siteWith(t, NAMED);
  const own = present(site, NAMED);
  const at = (date: Date) => certificateProblems(own, date);
  const end = own.notAfter?.getTime() ?? 0;
  assert.deepEqual(at(new Date(end - 31 * DAY_MS)), { warnings: [], problems: [] });
  assert.match(
    at(new Date(end - 30 * DAY_MS + 1000)).warnings.join(),
    /ends on 2027-12-22, in 29 days: sealift tls renew$/,
  );
  assert.deepEqual(at(new Date(end - 1000)).problems, []);
  assert.match(at(new Date(end + 1000)).problems.join(), /ended on 2027-12-22: sealift tls renew$/);
  const brought = certificateProblems({ ...own, isOwn: false, wantedNow: ["other"] }, new Date(end - DAY_MS));
  assert.match(
    brought.warnings.join(),
    /^the certificate for clients ends .*sealift tls csr, then sealift tls import$/,
  );
  const moved = certificateProblems({ ...own, wantedNow: ["ai.example.com", "10.0.0.1"] }, now);
  assert.match(moved.warnings.join(), /does not name 10\.0\.0\.1: sealift tls renew/);
});

test("a chain with its key becomes one file for the gateway; the root may be in it or not", () => {
  const { key, leaf, middle, root } = chainFor(["ai.example.com", "10.0.0.1", "fd00::17"]);
  const about = { names: ["AI.example.com".toLowerCase(), "10.0.0.1", "fd00::17"], now };
  for (const chain of [leaf + middle, leaf + middle + root, `Bag Attributes\n${leaf}\n\n${middle}`, leaf]) {
    const brought = readBroughtCertificate(chain, ["", "no key", pemOf(makeKey()), key], about);
    assert.deepEqual(brought.names, ["ai.example.com", "10.0.0.1", "fd00::17"]);
    assert.ok(brought.bytes.toString().startsWith(`${key}-----BEGIN CERTIFICATE-----`));
  }
});

/** A certificate that ends in the 99th month of its year. */
function inNoMonth(pem: string): string {
  const { raw } = new X509Certificate(pem);
  const [, end] = [...raw.toString("latin1").matchAll(/\d{12}Z/g)];
  assert.ok(end);
  raw.write("99", end.index + 2);
  return `-----BEGIN CERTIFICATE-----\n${raw.toString("base64")}\n-----END CERTIFICATE-----\n`;
}

test("a chain that would fail clients is refused, each with its code", () => {
  const names = ["ai.example.com"];
  const { key, leaf, middle, root } = chainFor(names);
  const other = chainFor(names);
  const old = chainFor(names, { end: days(-0.5) });
  const weakKey = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;
  const weak = chainFor(names, { key: weakKey });
  const authority = chainFor(names, { isAuthority: true });
  const refused: readonly (readonly [string, string, string, readonly string[]])[] = [
    ["TLS_CERTIFICATE_MALFORMED", "", key, names],
    ["TLS_CERTIFICATE_MALFORMED", key, key, names],
    ["TLS_CERTIFICATE_MALFORMED", middle + leaf, key, names],
    ["TLS_CERTIFICATE_MALFORMED", leaf + root, key, names],
    ["TLS_CERTIFICATE_MALFORMED", leaf + other.middle, key, names],
    ["TLS_CERTIFICATE_MALFORMED", leaf.repeat(9), key, names],
    ["TLS_CERTIFICATE_MALFORMED", authority.leaf + authority.middle, authority.key, []],
    ["TLS_CERTIFICATE_MALFORMED", weak.leaf, weak.key, names],
    ["TLS_CERTIFICATE_MALFORMED", inNoMonth(leaf), key, names],
    ["TLS_CERTIFICATE_MALFORMED", leaf + inNoMonth(middle), key, names],
    ["TLS_KEY_MISMATCH", leaf + middle, other.key, names],
    ["TLS_KEY_MISMATCH", leaf + middle, "", names],
    ["TLS_CERTIFICATE_EXPIRED", old.leaf + old.middle, old.key, names],
    ["TLS_NAME_MISSING", leaf + middle, key, ["ai.example.com", "b.example.com"]],
    ["TLS_NAME_MISSING", leaf + middle, key, ["10.0.0.1"]],
  ];
  for (const [index, [code, chain, withKey, wanted]] of refused.entries()) {
    const about = { names: wanted, now };
    assert.throws(() => readBroughtCertificate(chain, [withKey], about), coded(code), `case ${index}`);
  }
});

test("openssl reads the request, its names and its signature", () => {
  const pem = writeCertificateRequest("ai.example.com", ["ai.example.com", "10.0.0.1", "fd00::17"], makeKey());
  const ask = (input: Buffer) => {
    const args = ["req", "-noout", "-text", "-verify", "-inform", "DER"];
    const { stdout, stderr } = spawnSync("openssl", args, { input, encoding: "utf8" });
    return `${stdout}${stderr}`;
  };
  const der = Buffer.from(pem.split("\n").slice(1, -2).join(""), "base64");
  const said = ask(der);
  assert.match(said, /Subject: CN ?= ?ai\.example\.com/);
  assert.match(said, /DNS:ai\.example\.com, IP Address:10\.0\.0\.1, IP Address:FD00:0:0:0:0:0:0:17/);
  assert.match(said, /verify OK/);
  assert.throws(() => writeCertificateRequest("", [], makeKey()), RangeError);
  der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
  assert.doesNotMatch(ask(der), /verify OK/);
});

const brought = (names: readonly string[]): CertificateWish => {
  const { key, leaf, middle } = chainFor(names);
  return { source: "brought", brought: readBroughtCertificate(leaf + middle, [key], { names, now }) };
};

test("the certificate follows a configuration that changes names, and nothing else", async (t) => {
  const site = await siteWith(t, NAMED);
  const own = present(site, NAMED);
  const none: PlannedCertificate = { change: undefined, details: [] };
  assert.deepEqual(planCertificate(own, { ...NAMED, clientPort: 9 }), none);
  assert.deepEqual(planCertificate(undefined, NAMED), none);
  const moved = planCertificate(own, { publicNames: ["ai.example.com", "b.example.com"] });
  assert.deepEqual(moved.change, { file: "gateway/tls/server.pem", uid: 10_001, source: "own" });
  assert.match(moved.details.join(), /CLIENTS MUST TRUST ANOTHER AUTHORITY/);
  assert.ok(planCertificate(present(site, {}), { clientAddress: "10.0.0.1" }).change, "the address is a name too");
  const renewed = planCertificate(own, NAMED, { source: "own" });
  assert.match(renewed.details.join(), /clients trust its authority already/);
  const late = planCertificate(present(site, NAMED, days(3650 - 300)), NAMED, { source: "own" });
  assert.match(
    late.details.join(),
    /CLIENTS MUST TRUST ANOTHER AUTHORITY/,
    "the authority ends before the certificate",
  );
  const foreign = planCertificate({ ...own, isOwn: false }, { publicNames: ["b.example.com"] });
  assert.equal(foreign.change, undefined);
  assert.match(foreign.details.join(), /does not name b\.example\.com: it stays as it is/);
  const wish = brought(["ai.example.com"]);
  assert.match(planCertificate(own, NAMED, wish).details.join(), /one that was brought, for ai\.example\.com, until/);
});

/** Every file of the site, by its name. */
function snapshot(directory: string): Readonly<Record<string, string>> {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  return Object.fromEntries(
    names.map((one) => {
      const path = join(one.parentPath, one.name);
      return [path, createHash("sha256").update(readFileSync(path)).digest("hex")];
    }),
  );
}

test("a change that fails or is cut at any call is taken back whole; one that is done leaves no old key", async (t) => {
  const site = await siteWith(t, NAMED);
  const { directory } = site.paths;
  const before = snapshot(directory);
  const config: Config = { publicNames: ["ai.example.com", "b.example.com"] };
  const own: CertificateChange = { file: "gateway/tls/server.pem", uid: 10_001, source: "own" };
  let cuts = 0;
  for (let at = 1; ; at += 1) {
    const disk = new FaultyDisk({ kind: "kill", at });
    const failed = await changeCertificate({ ...site, disk }, own, config).then(
      () => false,
      () => true,
    );
    if (!failed) break;
    cuts += 1;
    restoreCertificate(site, own);
    assert.deepEqual(snapshot(directory), before, `call ${at}`);
  }
  assert.ok(cuts > 20, String(cuts));
  assert.deepEqual(present(site, config).names, ["ai.example.com", "b.example.com"]);
  restoreCertificate(site, own);
  assert.deepEqual(snapshot(directory), before);
  await changeCertificate(site, own, config);
  forgetCertificate(site);
  assert.deepEqual(Object.keys(snapshot(directory)), Object.keys(before));
  restoreCertificate(site, own);
  assert.deepEqual(present(site, config).names, ["ai.example.com", "b.example.com"], "nothing to go back to");
});

test("what was brought is used as it was authorized, or not at all", async (t) => {
  const site = await siteWith(t, NAMED);
  const wish = brought(["ai.example.com"]);
  const { change } = planCertificate(present(site, NAMED), NAMED, wish);
  if (!change || wish.source !== "brought") throw new TypeError("no change");
  await assert.rejects(changeCertificate(site, change, NAMED), coded("TLS_CERTIFICATE_MALFORMED"));
  restoreCertificate(site, change);
  writeFileSync(broughtPath(site.paths), Buffer.concat([wish.brought.bytes, Buffer.from("\n")]));
  await assert.rejects(changeCertificate(site, change, NAMED), coded("TLS_CERTIFICATE_MALFORMED"));
  restoreCertificate(site, change);
  assert.equal(present(site, NAMED).isOwn, true);
  writeFileSync(broughtPath(site.paths), wish.brought.bytes);
  await changeCertificate(site, change, NAMED);
  const served = readFileSync(join(site.paths.directory, "secrets/gateway/tls/server.pem"));
  assert.equal(new X509Certificate(served).fingerprint256, wish.brought.leaf.fingerprint256);
  forgetCertificate(site);
  assert.deepEqual(
    readdirSync(join(site.paths.directory, "site")).sort(),
    ["client-authority.json", "client-ca.pem"],
    "its key lies nowhere else",
  );
});
