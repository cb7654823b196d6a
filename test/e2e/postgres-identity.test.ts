/** The appliance's Postgres with a fixed identity: TLS with a certificate from both sides, and the service's name as its role. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { chmod, chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import type { ConnectionOptions } from "node:tls";
import pg from "pg";
import { internalName } from "../../compose/services/service-kit/src/identity.ts";
import { makeIdentity } from "../../installer/site/identities.ts";
import { PASSWORDS, POSTGRES_UID } from "../support/database-process.ts";
import {
  cannotStart,
  eventually,
  freePort,
  killStarted,
  lockedImages,
  putSecret,
  startImage,
  type UnpackedImage,
  unpackImage,
} from "../support/image-process.ts";
import { type Forgery, forgeLeaf, testIdentities } from "../support/test-identities.ts";

const IDENTITY = "/run/secrets/identity.pem";
/** As an appliance would have them: nobody without a certificate, and a service's role is its name. */
const HBA = "hostssl all all all cert map=services\n";
const IDENT = "services /^([a-z0-9-]+)\\.sealift\\.internal$ \\1\n";

let work = "";
let image: UnpackedImage;

before(async () => {
  if (cannotStart) return;
  work = await mkdtemp(join(tmpdir(), "sealift-identity-"));
  await chmod(work, 0o755);
  const { images } = await lockedImages(work, ["postgres"]);
  image = await unpackImage(images["postgres"] ?? assert.fail(), "postgres", work);
});

after(async () => {
  await killStarted();
  if (work) await rm(work, { recursive: true, force: true });
});

test("Postgres takes a service for what its authority may name, and for nothing else", {
  skip: cannotStart,
}, async () => {
  const identities = testIdentities(work);
  const [file] = makeIdentity({ service: "postgres", directory: "x", uid: POSTGRES_UID, fixed: true }, identities.root);
  const secrets = {
    "postgres-gateway": PASSWORDS.gateway,
    "postgres-gateway-owner": PASSWORDS.gateway_owner,
    "identity.pem": file?.bytes.toString() ?? "",
    hba: HBA,
    ident: IDENT,
  };
  for (const [name, content] of Object.entries(secrets)) await putSecret(image.rootfs, name, POSTGRES_UID, content);
  const [data, sockets] = [await mkdtemp(join(work, "data-")), await mkdtemp(join(work, "sockets-"))];
  await chmod(data, 0o700);
  for (const directory of [data, sockets]) await chown(directory, POSTGRES_UID, POSTGRES_UID);
  const port = await freePort();
  const settings = {
    port: String(port),
    listen_addresses: "127.0.0.1",
    ssl: "on",
    ssl_cert_file: IDENTITY,
    ssl_key_file: IDENTITY,
    ssl_ca_file: IDENTITY,
    ssl_min_protocol_version: "TLSv1.3",
    hba_file: "/run/secrets/hba",
    ident_file: "/run/secrets/ident",
  };
  const started = startImage(image, {
    writable: `run/postgresql=${sockets},tmp,var/lib/postgresql=${data}`,
    env: { SEALIFT_DATABASES: "gateway" },
    args: Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  });
  const ask = async (user: string, ssl: ConnectionOptions | undefined): Promise<unknown> => {
    const client = new pg.Client({ host: "127.0.0.1", port, database: "gateway", user, ssl });
    client.on("error", () => {});
    try {
      await client.connect();
      const sql = "SELECT current_user AS user, client_dn AS dn, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
      return (await client.query(sql)).rows[0];
    } finally {
      await client.end();
    }
  };
  const [gateway, pii] = [await identities.open("gateway"), await identities.open("pii")];
  const asGateway = { user: "gateway", dn: `/CN=${internalName("gateway")}`, version: "TLSv1.3" };
  const options = gateway.clientOptions("postgres");
  assert.deepEqual(await eventually("postgres", started, () => ask("gateway", options)), asGateway);

  const leaves = new Set<unknown>();
  const young = (await identities.open("gateway", { renewAfterMs: 0 })).clientOptions("postgres");
  const pool = new pg.Pool({ host: "127.0.0.1", port, database: "gateway", user: "gateway", ssl: young, max: 3 });
  const serial = "SELECT client_serial::text AS serial FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
  const inUse = await Promise.all([1, 2, 3].map(() => pool.connect()));
  for (const client of inUse) leaves.add((await client.query(serial)).rows[0]?.serial);
  for (const client of inUse) client.release();
  await pool.end();
  assert.equal(leaves.size, 3, "a pool's connections each ask for the leaf of their moment");

  await assert.rejects(ask("gateway", pii.clientOptions("postgres")), { code: "28000" });
  await assert.rejects(ask("gateway_owner", options), { code: "28000" });
  await assert.rejects(ask("gateway", gateway.clientOptions("audit")), { code: "PEER_NOT_ALLOWED" });
  await assert.rejects(ask("gateway", { rejectUnauthorized: false }), { code: "28000" });
  await assert.rejects(ask("gateway", undefined), { code: "28000" });
  const pem = readFileSync(identities.path("pii"), "latin1");
  const forgeries: Forgery[] = [{ subject: internalName("gateway") }, { names: [internalName("gateway")] }];
  for (const forgery of forgeries) {
    const { key, chain, ca } = forgeLeaf(pem, "pii", forgery);
    const refused = ask("gateway", { key, cert: chain, ca, servername: internalName("postgres") });
    await assert.rejects(refused, /alert certificate unknown|alert unknown ca|alert bad certificate/i);
  }
  await started.stop("SIGINT");
});
