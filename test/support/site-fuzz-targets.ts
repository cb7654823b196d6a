/** Targets of the fuzzer (fuzz-targets.ts): what is brought to a site, and what a restored site's files say. */
import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { containerDifferences, differenceText } from "../../compose/engine/container-proof.ts";
import { zstdContentSize } from "../../compose/engine/disk-need.ts";
import { readEngineFacts } from "../../compose/engine/engine.ts";
import { signCheckpoint } from "../../compose/services/audit/src/checkpoint.ts";
import { leafHash } from "../../compose/services/audit/src/merkle.ts";
import { encodeEntries } from "../../compose/services/audit/src/tile-path.ts";
import { writeCertificate } from "../../compose/services/service-kit/src/certificate.ts";
import { parseCheckpoint, parseLogKey, requireSignature } from "../../installer/audit/checkpoint.ts";
import { verifyEpochs } from "../../installer/audit/epochs.ts";
import { exportLine } from "../../installer/audit/export-log.ts";
import { ledgerEventOf } from "../../installer/audit/ledger-events.ts";
import { entriesBehind } from "../../installer/audit/segments.ts";
import { identitiesIn, makeBackupKey, recipientsIn } from "../../installer/backup/age-file.ts";
import { parseControllers, parseFilesystems } from "../../installer/host/doctor-facts.ts";
import { parseAptTargets, parseInstalled, parseOsRelease } from "../../installer/host/setup-facts.ts";
import { parseWitness } from "../../installer/lifecycle/ledger-audit.ts";
import { shownLines } from "../../installer/lifecycle/support-bundle/log-lines.ts";
import { readAnswer, readHostKey } from "../../installer/lifecycle/transport-key.ts";
import { parseSigners } from "../../installer/site/allowed-signers.ts";
import { makeAuthority, parseAuthority } from "../../installer/site/authority.ts";
import { readBroughtCertificate } from "../../installer/site/client-certificate.ts";
import { completeConfig, configBytes, parseConfigFile } from "../../installer/site/config.ts";
import { NOTHING_DEPLOYED, readDeployments } from "../../installer/site/deployment.ts";
import { openIdentityRoot } from "../../installer/site/identities.ts";
import { readClientAuthority } from "../../installer/site/server-certificate.ts";
import { statePaths } from "../../installer/site/state.ts";
import { parseTrustPin } from "../../installer/site/trust.ts";
import { accepted, type FuzzTarget, fuzzDirectory } from "./fuzz-target.ts";
import { makeSigner } from "./ssh-signer.ts";

const text = (data: Buffer): string => data.toString("utf8");
const seed = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

function jsonIn(data: Buffer): unknown {
  try {
    return JSON.parse(text(data));
  } catch {
    return undefined;
  }
}

/** Writes an input where a reader looks for it. */
function put(name: string, data: Buffer | string): string {
  const path = join(fuzzDirectory(), name);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, data, { mode: 0o600 });
  return path;
}

const CONFIG_SCHEMA = JSON.parse(
  readFileSync(new URL("../../compose/config.schema.json", import.meta.url), "utf8"),
) as JsonSchema;
const anything: JsonSchema = { type: "object", properties: { a: { type: "number" }, b: { default: 1 } } };

const logKey = generateKeyPairSync("ed25519");
const signer = { origin: "site.example/log", privateKey: logKey.privateKey };
const logPem = logKey.publicKey.export({ format: "pem", type: "spki" }).toString();
const key = parseLogKey(logPem, "a.pub");
const checkpoint = signCheckpoint(signer, { size: 7, root: Buffer.alloc(32, 1) });
const ledgerEvent = {
  ...{ service: "installer", type: "site.ledger", ts: "2026-11-21T08:00:00.000Z" },
  ...{ ledgerHead: "0".repeat(64), ledgerLength: 1 },
};
const epochEvent = {
  ...{ v: 1, service: "audit", type: "log.epoch", counts: { entries: 3, epoch: 2 } },
  ...{ predecessor: "site.example/old", predecessorRoot: "0".repeat(64), ts: "2026-11-21T08:00:00.000Z" },
};

/** A log of this one entry, as its service would have written and signed it. */
function logWith(entry: Buffer): string {
  put("log/checkpoint", signCheckpoint(signer, { size: 1, root: leafHash(entry) }));
  put("log/tile/entries/000.p/1", encodeEntries([entry]));
  put("log/tile/0/000.p/1", leafHash(entry));
  return join(fuzzDirectory(), "log");
}

const server = generateKeyPairSync("ec", { namedCurve: "P-256" });
const NOW = new Date("2026-11-21T08:00:00.000Z");
const chain = writeCertificate({
  ...{ subject: "site.example", names: ["site.example", "192.0.2.1"], publicKey: server.publicKey },
  issuer: { name: "authority", privateKey: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey },
  ...{ notBefore: new Date(NOW.getTime() - 1e9), notAfter: new Date(NOW.getTime() + 1e9), purposes: ["server"] },
});
const serverKey = server.privateKey.export({ format: "pem", type: "pkcs8" }).toString();
const hostKey = logKey.privateKey.export({ format: "pem", type: "pkcs8" }).toString();
const { identity, recipient } = await makeBackupKey();

const witness = { siteId: "0".repeat(32), ledgerHead: digestOf("x"), ledgerLength: 1 };
const operator = `ada namespaces="sealift-authorization" ssh-ed25519 ${makeSigner().blob.toString("base64")}\n`;
const people = {
  operators: parseSigners(operator, "operators"),
  reviewers: [],
  thresholds: {},
  recoveryKey: undefined,
};
const authority = makeAuthority(people, 1).document;
const clientAuthority = { schemaVersion: 1, names: ["site.example"], privateKey: serverKey, certificate: chain };
const pending = { schemaVersion: 1, challenge: "AA==", privateKey: "AA==", publicKey: "AA==" };
const engine = {
  version: { Version: "28.0.0", ApiVersion: "1.48", Platform: { Name: "Docker Engine" } },
  info: {
    ...{ Driver: "overlay2", DriverStatus: [["driver-type", "io.containerd.snapshotter.v1"]], OSType: "linux" },
    ...{ Architecture: "x86_64", CgroupVersion: "2", DockerRootDir: "/var/lib/docker", ID: "x" },
  },
};
const project = {
  services: { a: { image: "i", networks: { n: null }, volumes: [{ type: "volume", source: "v", target: "/v" }] } },
};
const containers = [
  {
    Name: "/a",
    Config: { Labels: { "com.docker.compose.service": "a" }, Image: "i", Env: ["A=1"] },
    Mounts: [{ Type: "volume" }],
  },
];
const images = new Map([["i", { id: "sha256:00", config: { config: { Env: ["PATH=/bin"] } } as never }]]);

export const siteFuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  "site's configuration": {
    seeds: [
      Buffer.from("clientAddress: 192.0.2.1\npublicNames: [site.example]\nleastTls: TLSv1.3\n"),
      Buffer.from('{"a":1e3,"b":{"c":[null]}}'),
    ],
    run: (data) => {
      const given = accepted(() => parseConfigFile(data, "a.yaml"));
      for (const schema of given ? [CONFIG_SCHEMA, anything] : []) {
        const config = accepted(() => completeConfig(schema, given as never));
        // What is kept of it, and signed for, is the same configuration.
        if (config) assert.deepEqual(configBytes(parseConfigFile(configBytes(config), "b.json")), configBytes(config));
      }
    },
  },
  "ledger's witness": {
    seeds: [canonicalJson(witness), Buffer.from('{"seq":1,"prev":null}\n')],
    run: (data) => {
      const read = accepted(() => parseWitness(data, "a.json"));
      if (read) assert.ok(read.length >= 1);
    },
  },
  "checkpoint of an audit log": {
    seeds: [checkpoint],
    run: (data) => {
      const read = accepted(() => parseCheckpoint(data, "a"));
      const holds = read && accepted(() => requireSignature(read, key, "a") ?? true);
      if (holds) assert.deepEqual([read.size, read.root], [7, Buffer.alloc(32, 1)], "what the log has not signed");
    },
  },
  "key of an audit log": {
    seeds: [
      Buffer.from(logPem),
      Buffer.from("site.example/log+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"),
    ],
    run: (data) => {
      accepted(() => parseLogKey(text(data), "a.pub"));
    },
  },
  "entry of an audit log": {
    seeds: [ledgerEvent, epochEvent].map(seed),
    run: (data) => {
      if (data.length > 65_535) return;
      accepted(() =>
        verifyEpochs(logWith(data), {
          key,
          onEntry: (entry, index) => {
            ledgerEventOf(entry, index);
            const line = exportLine(entry, index, "jsonl", { members: {} });
            assert.equal(JSON.parse(line ?? "").index, index);
            assert.ok(exportLine(entry, index, "csv", { members: {}, since: NOW }) !== "");
          },
        }),
      );
    },
  },
  "entries behind a checkpoint": {
    seeds: [Buffer.concat([Buffer.from("sealift audit segment 1\n"), Buffer.alloc(8200)])],
    run: (data) => {
      put("behind/segments/0000000000000000", data);
      assert.ok(entriesBehind(join(fuzzDirectory(), "behind"), 3) >= 0);
    },
  },
  "keys of a backup": {
    seeds: [Buffer.from(`# key\n${recipient}\n`), Buffer.from(`${identity}\n`)],
    run: (data) => {
      const recipients = accepted(() => recipientsIn(text(data), "a.pub"));
      if (recipients) assert.deepEqual(recipientsIn(recipients.join("\n"), "a.pub"), recipients);
      accepted(() => identitiesIn(text(data), "a.key"));
    },
  },
  "state of a site": {
    seeds: [
      canonicalJson(NOTHING_DEPLOYED),
      canonicalJson(authority),
      canonicalJson(clientAuthority),
      canonicalJson(pending),
    ],
    run: (data) => {
      const paths = statePaths(join(fuzzDirectory(), "state"));
      put(relative(fuzzDirectory(), paths.deployment), data);
      accepted(() => readDeployments(paths));
      accepted(() => parseAuthority(jsonIn(data)));
      accepted(() => parseTrustPin(jsonIn(data)));
      accepted(() => readClientAuthority(put("state/authority.json", data)));
      put(`run/${witness.siteId}/answer.json`, data);
      accepted(() => readAnswer(join(fuzzDirectory(), "run"), witness.siteId));
    },
  },
  "keys of a site": {
    seeds: [Buffer.from(hostKey), Buffer.from(serverKey)],
    run: (data) => {
      put("state/site/host-key.pem", data);
      const read = accepted(() => readHostKey(statePaths(join(fuzzDirectory(), "state"))));
      if (read) assert.equal(read.spki.length, 44);
      accepted(() => openIdentityRoot({} as never, put("state/identity-root.pem", data)));
    },
  },
  "certificate that was brought": {
    seeds: [Buffer.from(chain), Buffer.from(serverKey)],
    run: (data) => {
      const asked = { names: ["site.example"], now: NOW };
      const read = accepted(() => readBroughtCertificate(data.toString("latin1"), [serverKey], asked));
      if (read) assert.ok(read.leaf.checkPrivateKey(createPrivateKey(serverKey)));
      accepted(() => readBroughtCertificate(chain, [data.toString("latin1")], asked));
    },
  },
  "container's log": {
    seeds: [
      '2026-11-21T08:00:00.000Z {"time":"2026-11-21T08:00:00.000Z","level":"info","service":"gateway","event":"started","port":8443}\n',
      "2026-11-21 08:00:00.000 UTC [1] LOG:  database system is ready to accept connections\n",
    ].map((one) => Buffer.from(one)),
    run: (data) => {
      const lines = shownLines(data)
        .split("\n")
        .filter((line) => line !== "");
      const { linesShown } = JSON.parse(lines.at(-1) ?? "{}");
      assert.equal(linesShown, lines.length - 1);
      for (const line of lines) assert.ok(line.length < 2048, "a person could have written that much");
    },
  },
  "engine's answers": {
    seeds: [seed(engine), seed({ project, containers })],
    run: (data) => {
      const said = (jsonIn(data) ?? {}) as Readonly<Record<string, unknown>>;
      accepted(() => readEngineFacts(said["version"], said["info"]));
      const inspected = Array.isArray(said["containers"]) ? said["containers"] : [];
      for (const one of containerDifferences(said["project"], inspected, images)) differenceText(one);
    },
  },
  "size of a compressed layer": {
    seeds: [Buffer.from("28b52ffd64000100", "hex"), Buffer.from("28b52ffde000000000000000ff00", "hex")],
    run: (data) => {
      const size = zstdContentSize(data);
      if (size !== undefined) assert.ok(Number.isSafeInteger(size) && size >= 0);
    },
  },
  "what a host says of itself": {
    seeds: [
      'ID=debian\nVERSION_ID="13"\n',
      "Debian|Debian|http://a|trixie|stable|main\n",
      "a\t1.0\tinstalled\n",
      "nodev\tsysfs\n\text4\n",
    ].map((one) => Buffer.from(one)),
    run: (data) => {
      for (const parse of [parseOsRelease, parseAptTargets, parseInstalled, parseFilesystems]) parse(text(data));
      parseControllers(text(data), text(data));
    },
  },
};
