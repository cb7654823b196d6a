import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { connect } from "node:tls";
import { ALWAYS, writeCertificate } from "../../compose/services/service-kit/src/certificate.ts";
import { authorityName, internalName } from "../../compose/services/service-kit/src/identity.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { makeIdentity, openIdentityRoot } from "../../installer/site/identities.ts";
import { scratch } from "../support/scratch.ts";
import { certificatesOf, forgeLeaf, testIdentities } from "../support/test-identities.ts";
import { coded } from "../support/test-trust.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const withOpenssl = { skip: hasOpenssl ? false : "openssl is not on this machine" };

test("a site's root is made once, readable by its owner only, and its file is enough to sign again", async (t) => {
  const path = join(await scratch(t), "identity-root.pem");
  const made = openIdentityRoot(hostDisk, path);
  assert.equal(statSync(path).mode & 0o777, 0o400);
  const again = openIdentityRoot(hostDisk, path);
  assert.deepEqual(again.certificates, made.certificates);
  assert.ok(again.privateKey.equals(made.privateKey));
});

test("a root that somebody damaged or exchanged is not used, and not replaced", async (t) => {
  const directory = await scratch(t);
  const [path, other] = [join(directory, "root.pem"), join(directory, "other.pem")];
  openIdentityRoot(hostDisk, path);
  openIdentityRoot(hostDisk, other);
  const [text, foreign] = [readFileSync(path, "latin1"), readFileSync(other, "latin1")];
  const at = text.indexOf("-----BEGIN CERTIFICATE");
  const bad = [
    "",
    "hello",
    text.slice(0, at),
    text.slice(at),
    foreign.slice(0, at) + text.slice(at),
    `${text.slice(0, at)}${text.slice(at, -30)}`,
  ];
  for (const [i, content] of bad.entries()) {
    const damaged = join(directory, `damaged-${i}.pem`);
    writeFileSync(damaged, content);
    assert.throws(() => openIdentityRoot(hostDisk, damaged), coded("STATE_DAMAGED"), `case ${i}`);
    assert.equal(readFileSync(damaged, "latin1"), content);
  }
});

test("an identity is one file for one uid: a key, its authority and every root that counts", async (t) => {
  const { root } = testIdentities(await scratch(t));
  const [second = ""] = testIdentities(await scratch(t)).root.certificates;
  const rotated = { ...root, certificates: [...root.certificates, second] };
  const files = makeIdentity({ service: "audit", directory: "audit/identity", uid: 10_020 }, rotated);
  assert.deepEqual(
    files.map(({ path, uid, mode }) => ({ path, uid, mode })),
    [{ path: "audit/identity/identity.pem", uid: 10_020, mode: 0o400 }],
  );
  const pem = files[0]?.bytes.toString() ?? "";
  const [authority = "", ...roots] = certificatesOf(pem);
  assert.deepEqual(roots, rotated.certificates);
  assert.ok(new X509Certificate(authority).ca);
  assert.ok(new X509Certificate(authority).checkPrivateKey(createPrivateKey(pem)));
  const [again] = makeIdentity({ service: "audit", directory: "audit/identity", uid: 10_020 }, rotated);
  assert.ok(!createPrivateKey(pem).equals(createPrivateKey(again?.bytes ?? "")), "each identity has its own key");
});

test("a service name that no certificate could hold is refused", async (t) => {
  const { root } = testIdentities(await scratch(t));
  for (const service of ["", "Gateway", "gate_way", "-a", "a-", "a.b", "*", "a".repeat(41), "a\n"]) {
    assert.throws(() => makeIdentity({ service, directory: "x", uid: 1 }, root), RangeError, JSON.stringify(service));
  }
  assert.equal(makeIdentity({ service: "a".repeat(40), directory: "x", uid: 1 }, root).length, 1);
});

interface OnDisk {
  readonly root: string;
  readonly authority: string;
  leaf(name: string, forgery: Parameters<typeof forgeLeaf>[2]): string;
}

/** pii's certificates, each in a file. */
async function onDisk(t: TestContext): Promise<OnDisk> {
  const directory = await scratch(t);
  const { path } = testIdentities(directory);
  const pem = readFileSync(path("pii"), "latin1");
  const write = (name: string, text: string): string => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  };
  const [authority = "", root = ""] = certificatesOf(pem);
  return {
    root: write("root.pem", root),
    authority: write("authority.pem", authority),
    leaf: (name, forgery) => write(name, forgeLeaf(pem, "pii", forgery).leaf),
  };
}

function verify(files: OnDisk, leaf: string, purpose: string, ...more: string[]): string {
  const args = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", files.root, "-untrusted", files.authority];
  const { stdout, stderr } = spawnSync("openssl", [...args, ...more, leaf], { encoding: "utf8" });
  return /error \d+ at .*: (.*)/.exec(stderr)?.[1] ?? stdout.trim().split(": ").at(-1) ?? "";
}

test(
  "openssl accepts the chain under its strict rules, for servers and clients, and refuses every other name",
  withOpenssl,
  async (t) => {
    const files = await onDisk(t);
    const own = internalName("pii");
    const cases: readonly (readonly [string, Parameters<typeof forgeLeaf>[2], string])[] = [
      ["own", {}, "OK"],
      ["other", { names: [internalName("gateway")] }, "permitted subtree violation"],
      ["both", { names: [own, internalName("gateway")] }, "permitted subtree violation"],
      ["common-name", { subject: internalName("gateway") }, "permitted subtree violation"],
      ["ipv4", { names: [own, "10.0.0.1"] }, "excluded subtree violation"],
      ["ipv6", { names: [own, "fd00::1"] }, "excluded subtree violation"],
      ["longer", { names: [`evil${own}`] }, "permitted subtree violation"],
    ];
    for (const [name, forgery, want] of cases) {
      const leaf = files.leaf(`${name}.pem`, forgery);
      for (const purpose of ["sslserver", "sslclient"]) assert.equal(verify(files, leaf, purpose), want, name);
    }
    const leaf = files.leaf("leaf.pem", {});
    assert.equal(verify(files, leaf, "smimesign"), "unsuitable certificate purpose");
    assert.equal(verify(files, leaf, "sslserver", "-verify_hostname", own), "OK");
    assert.equal(verify(files, leaf, "sslserver", "-verify_hostname", internalName("gateway")), "hostname mismatch");
  },
);

test("root and authority are good at every time that a host's clock may show", withOpenssl, async (t) => {
  const files = await onDisk(t);
  for (const year of [1970, 1999, 2026, 2049, 2050, 2200, 9999]) {
    const at = Date.UTC(year, 6, 1);
    const leaf = files.leaf(`${year}.pem`, { notBefore: new Date(at - 1000), notAfter: new Date(at + 1000) });
    assert.equal(verify(files, leaf, "sslserver", "-attime", String(at / 1000)), "OK", String(year));
    assert.equal(
      verify(files, leaf, "sslserver", "-attime", String(at / 1000 + 2)),
      "certificate has expired",
      String(year),
    );
  }
});

test("an authority cannot make another that may do more", withOpenssl, async (t) => {
  const directory = await scratch(t);
  const pem = readFileSync(testIdentities(directory).path("pii"), "latin1");
  const [authority = "", root = ""] = certificatesOf(pem);
  const [sub, leaf] = [0, 1].map(() => generateKeyPairSync("ec", { namedCurve: "P-256" }));
  assert.ok(sub && leaf);
  const common = { ...ALWAYS, purposes: ["server", "client"] } as const;
  const subordinate = writeCertificate({
    ...common,
    subject: internalName("pii"),
    publicKey: sub.publicKey,
    issuer: { name: authorityName("pii"), privateKey: createPrivateKey(pem) },
    authority: { pathLength: 0, limits: { dns: [internalName("gateway")], ip: [] } },
  });
  const end = writeCertificate({
    ...common,
    subject: internalName("pii"),
    names: [internalName("pii")],
    publicKey: leaf.publicKey,
    issuer: { name: internalName("pii"), privateKey: sub.privateKey },
  });
  const files = { root: join(directory, "r.pem"), authority: join(directory, "a.pem"), leaf: () => "" };
  writeFileSync(files.root, root);
  writeFileSync(files.authority, authority + subordinate);
  writeFileSync(join(directory, "end.pem"), end);
  assert.equal(verify(files, join(directory, "end.pem"), "sslclient"), "path length constraint exceeded");
});

test("openssl reads what we wrote", withOpenssl, async (t) => {
  const { authority, root } = await onDisk(t);
  const text = (path: string): string =>
    execFileSync("openssl", ["x509", "-in", path, "-noout", "-text"], { encoding: "utf8" });
  const flat = text(authority).replace(/\s+/g, " ");
  for (const want of [
    "Version: 3 (0x2)",
    "Signature Algorithm: ecdsa-with-SHA256",
    "Issuer: CN = Sealift site root",
    "Not Before: Jan 1 00:00:00 1970 GMT Not After : Dec 31 23:59:59 9999 GMT",
    "Subject: CN = authority of pii",
    "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
    "X509v3 Key Usage: critical Certificate Sign",
    "TLS Web Server Authentication, TLS Web Client Authentication",
    "X509v3 Name Constraints: critical Permitted: DNS:pii.sealift.internal email:pii.sealift.internal " +
      "URI:pii.sealift.internal DirName:CN = pii.sealift.internal " +
      "Excluded: IP:0.0.0.0/0.0.0.0 IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0",
  ]) {
    assert.ok(flat.replaceAll("CN=", "CN = ").includes(want), `${want}\n${flat}`);
  }
  assert.match(text(root).replace(/\s+/g, " "), /CA:TRUE, pathlen:1 .* Permitted: DNS:sealift\.internal /);
});

test("a fixed identity serves openssl from one file, and makes no one else", withOpenssl, async (t) => {
  const directory = await scratch(t);
  const { root, open } = testIdentities(directory);
  const [file] = makeIdentity({ service: "postgres", directory: "postgres", uid: 10_070, fixed: true }, root);
  const path = join(directory, "fixed.pem");
  writeFileSync(path, file?.bytes ?? "");
  assert.ok(!new X509Certificate(file?.bytes ?? "").ca);

  const [postgres, gateway] = ["postgres", "gateway"];
  const server = spawn("openssl", [
    "s_server",
    "-accept",
    "127.0.0.1:0",
    "-cert",
    path,
    "-key",
    path,
    "-CAfile",
    path,
    "-Verify",
    "2",
    "-verify_return_error",
    "-naccept",
    "1",
  ]);
  t.after(() => server.kill());
  let output = "";
  const [accept] = await new Promise<RegExpExecArray>((resolve) => {
    server.stdout.on("data", (chunk) => {
      output += String(chunk);
      const found = /ACCEPT 127\.0\.0\.1:(\d+)/.exec(output);
      if (found) resolve(found);
    });
  });
  const port = Number(accept.split(":")[1]);
  const socket = connect({ ...(await open(gateway)).clientOptions(postgres), host: "127.0.0.1", port });
  await once(socket, "secureConnect");
  assert.equal(socket.authorized, true);
  socket.destroy();
});

test("openssl as a client reaches a service with the same identity that Node makes", withOpenssl, async (t) => {
  const directory = await scratch(t);
  const { open, path } = testIdentities(directory);
  const options = (await open("audit")).serverOptions(["gateway"]);
  const server = createServer(options, (_, response) => response.end("hello"));
  options.guard(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const pem = readFileSync(path("gateway"), "latin1");
  const { key, leaf } = forgeLeaf(pem, "gateway", {});
  const client = join(directory, "client.pem");
  writeFileSync(client, key + leaf + certificatesOf(pem).join(""));
  const args = [
    "s_client",
    "-connect",
    `127.0.0.1:${port}`,
    "-servername",
    internalName("audit"),
    "-verify_hostname",
    internalName("audit"),
    "-cert",
    client,
    "-key",
    client,
    "-cert_chain",
    client,
    "-CAfile",
    client,
    "-verify_return_error",
    "-quiet",
  ];
  const child = spawn("openssl", args, { stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.end("GET / HTTP/1.0\r\n\r\n");
  let answer = "";
  child.stdout.on("data", (chunk) => {
    answer += String(chunk);
  });
  await once(child, "close");
  assert.match(answer, /^HTTP\/1\.1 200 OK.*hello/s);
});
