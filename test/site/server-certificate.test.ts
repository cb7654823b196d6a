import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, get } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { readServerCertificate } from "../../compose/services/service-kit/src/server-certificate.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import {
  type ClientAuthority,
  makeServerCertificate,
  openClientAuthority,
  serverNames,
} from "../../installer/site/server-certificate.ts";
import { scratch } from "../support/scratch.ts";
import { certificatesOf } from "../support/test-identities.ts";
import { coded } from "../support/test-trust.ts";

const DAY_MS = 24 * 60 * 60_000;
const siteId = "0123456789abcdef0123456789abcdef";
const rule = { directory: "gateway/tls", uid: 10_001 };
const now = new Date("2026-11-21T08:00:00.000Z");
const names = ["ai.example.com", "localhost", "127.0.0.1", "fd00::17"];

function pemOf(authority: ClientAuthority, site: { siteId: string; names: readonly string[]; now: Date }): string {
  return makeServerCertificate(rule, authority, site)[0]?.bytes.toString() ?? "";
}

test("the names are the configured ones, or else this host's, once each and in lower case", () => {
  assert.deepEqual(
    serverNames(["AI.example.com", "10.0.0.1", "ai.example.com", "xn--bcher-kva.example"], "host", "0.0.0.0"),
    ["ai.example.com", "10.0.0.1", "xn--bcher-kva.example"],
  );
  assert.deepEqual(serverNames([], "Box-1.lan", "10.0.0.9"), ["localhost", "127.0.0.1", "10.0.0.9", "box-1.lan"]);
  assert.deepEqual(serverNames([], "no_dns_name", "0.0.0.0"), ["localhost", "127.0.0.1"]);
  assert.deepEqual(serverNames([], "localhost", "127.0.0.1"), ["localhost", "127.0.0.1"]);
});

test("a name that is neither a DNS name nor an address is refused", () => {
  const bad = [
    "",
    " ",
    "*.example.com",
    "bücher.example",
    "a..b",
    ".a",
    "a.",
    "-a.example",
    "a-.example",
    "a_b",
    "1.2.3",
    "300.1.1.1",
    "fe80::1%eth0",
    "https://a",
    "a:443",
    "a,b",
    "a\nb",
    "a\0b",
    `${"a".repeat(64)}.example`,
    `${"a.".repeat(126)}example`,
  ];
  for (const name of bad) {
    assert.throws(() => serverNames([name], "host", "0.0.0.0"), coded("TLS_NAME_MALFORMED"), JSON.stringify(name));
  }
  const many = Array.from({ length: 65 }, (_, i) => `n${i}.example`);
  assert.throws(() => serverNames(many, "host", "0.0.0.0"), coded("TLS_NAME_MALFORMED"));
  assert.equal(serverNames(many.slice(1), "host", "0.0.0.0").length, 64);
});

test("the authority stays as long as its names and its days are enough", async (t) => {
  const path = join(await scratch(t), "client-authority.json");
  const open = (wanted: readonly string[], at: Date): ClientAuthority =>
    openClientAuthority(hostDisk, path, { siteId, names: wanted, now: at });
  const first = open(names, now);
  assert.equal(first.isNew, true);
  assert.equal(statSync(path).mode & 0o777, 0o400);
  const days = (count: number): Date => new Date(now.getTime() + count * DAY_MS);
  for (const [wanted, at] of [
    [names, now],
    [names.slice(1), days(1)],
    [names, days(3650 - 1 - 397)],
  ] as const) {
    const again = open(wanted, at);
    assert.deepEqual([again.certificate, again.isNew], [first.certificate, false]);
    assert.ok(again.privateKey.equals(first.privateKey));
  }
  const other = open([...names, "other.example.com"], now);
  assert.ok(other.isNew && other.certificate !== first.certificate, "other names");
  assert.ok(open(names, days(3650 - 397)).isNew, "it would end before the certificate");
  assert.ok(open(names, days(-3000)).isNew, "made while the clock was ahead");
});

test("an authority that somebody damaged is not used, and not replaced", async (t) => {
  const directory = await scratch(t);
  const path = join(directory, "a.json");
  openClientAuthority(hostDisk, path, { siteId, names, now });
  const document = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  const otherPath = join(directory, "b.json");
  const other = openClientAuthority(hostDisk, otherPath, { siteId, names, now });
  const cases = [
    "",
    "{}",
    JSON.stringify({ ...document, schemaVersion: 2 }),
    JSON.stringify({ ...document, privateKey: "hello" }),
    JSON.stringify({ ...document, certificate: other.certificate }),
    `${readFileSync(path, "utf8")}\n`,
  ];
  for (const [i, text] of cases.entries()) {
    const damaged = join(directory, `damaged-${i}.json`);
    writeFileSync(damaged, text);
    assert.throws(
      () => openClientAuthority(hostDisk, damaged, { siteId, names, now }),
      coded("STATE_DAMAGED"),
      String(i),
    );
    assert.equal(readFileSync(damaged, "utf8"), text);
  }
});

test("a server certificate is one file that the gateway reads as certificate and as key", async (t) => {
  const directory = await scratch(t);
  const authority = openClientAuthority(hostDisk, join(directory, "a.json"), { siteId, names, now });
  const files = makeServerCertificate(rule, authority, { siteId, names, now });
  assert.deepEqual(
    files.map(({ path, uid, mode }) => ({ path, uid, mode })),
    [{ path: "gateway/tls/server.pem", uid: 10_001, mode: 0o400 }],
  );
  const pem = files[0]?.bytes ?? Buffer.alloc(0);
  const file = join(directory, "server.pem");
  writeFileSync(file, pem);
  await readServerCertificate({ chainFile: file, keyFile: file });
  assert.ok(new X509Certificate(pem).checkPrivateKey(createPrivateKey(pem)));
  assert.equal(certificatesOf(pem.toString())[1], authority.certificate);
  const leaf = new X509Certificate(pem);
  assert.equal(leaf.validFromDate.toISOString(), "2026-11-20T08:00:00.000Z");
  assert.equal(leaf.validToDate.toISOString(), "2027-12-22T08:00:00.000Z");
});

test("a client that trusts the authority reaches the site by each of its names, and by no other", async (t) => {
  const site = { siteId, names, now: new Date() };
  const authority = openClientAuthority(hostDisk, join(await scratch(t), "a.json"), site);
  const pem = pemOf(authority, site);
  const server = createServer({ key: pem, cert: pem }, (_, response) => response.end());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const ask = (servername: string, ca?: string): Promise<string | number | undefined> =>
    new Promise((resolve) => {
      const options = { host: "127.0.0.1", port, agent: false as const, servername, headers: { host: servername }, ca };
      get(options, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).on("error", (error: NodeJS.ErrnoException) => resolve(error.code));
    });
  for (const name of ["ai.example.com", "localhost"]) assert.equal(await ask(name, authority.certificate), 200, name);
  assert.equal(await ask("", authority.certificate), 200, "127.0.0.1");
  assert.equal(await ask("example.com", authority.certificate), "ERR_TLS_CERT_ALTNAME_INVALID");
  assert.equal(await ask("localhost"), "SELF_SIGNED_CERT_IN_CHAIN");
});

test("whoever has the authority's key can vouch for this site's names only", async (t) => {
  if (spawnSync("openssl", ["version"]).status !== 0) return t.skip("openssl is not on this machine");
  const directory = await scratch(t);
  const [ca, leaf] = [join(directory, "ca.pem"), join(directory, "leaf.pem")];
  const verify = (allowed: readonly string[], wanted: readonly string[]): string => {
    const site = { siteId, names: allowed, now: new Date() };
    const authority = openClientAuthority(hostDisk, join(directory, `${allowed.join()}.json`), site);
    writeFileSync(ca, authority.certificate);
    writeFileSync(leaf, pemOf(authority, { ...site, names: wanted }));
    const args = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca, leaf];
    const { stdout, stderr } = spawnSync("openssl", args, { encoding: "utf8" });
    return /error \d+ at .*: (.*)/.exec(stderr)?.[1] ?? stdout.trim().split(": ").at(-1) ?? "";
  };
  assert.equal(verify(names, names), "OK");
  assert.equal(verify(names, ["bank.example"]), "permitted subtree violation");
  assert.equal(verify(names, ["10.0.0.1"]), "permitted subtree violation");
  assert.equal(verify(names, ["fd00::18"]), "permitted subtree violation");
  assert.equal(verify(["a.example"], ["10.0.0.1"]), "excluded subtree violation");
  assert.equal(verify(["a.example"], ["::1"]), "excluded subtree violation");
  assert.equal(verify(["10.0.0.1"], ["10.0.0.1"]), "OK");
  assert.equal(verify(["10.0.0.1"], ["a.example"]), "excluded subtree violation");
});
