/**
 * What an operator does with a site that runs, on the real engine: tenants and API keys, limits and the
 * policy for personal data, the certificate that clients see. Each by a signed plan, none with psql.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createPublicKey, X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "node:tls";
import { dockerCall } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { writeCertificate } from "../../compose/services/service-kit/src/certificate.ts";
import { failedRequests, startLoad } from "../support/load.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";
import { makeKey } from "../support/test-trust.ts";

const PORT = 18643;
const DAY_MS = 24 * 60 * 60_000;
/** What a gateway remembers of a key (database/identities.ts), and a margin. */
const REMEMBERED_MS = 7_000;
const MODEL = "sealift-test-model";

inOwnMachine(
  import.meta.url,
  "an operator looks after a site that runs",
  () => describe("day two", { timeout: 600_000 }, suite),
  () => prepareReleases("first"),
);

interface Answer {
  readonly status: number;
  readonly body: string;
}

function suite(): void {
  const cleanups: (() => Promise<void>)[] = [];
  let site: RunningSite;
  let directory: string;
  let firstKey = "";
  let robotKey = "";

  before(async () => {
    directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    site = await RunningSite.start(directory, "classic");
    cleanups.unshift(() => site.engine.stop());
    const { bundle } = await realRelease("first");
    await writeFile(join(directory, "install.json"), JSON.stringify({ clientPort: PORT }));
    const done = await site.change("install", bundle, "--config", join(directory, "install.json"), "--json");
    firstKey = keyIn(done.stdout);
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  const keyIn = (stdout: string): string => {
    const { credentials } = JSON.parse(stdout) as { credentials: string[] };
    return (JSON.parse(credentials[0] ?? "") as { key: string }).key;
  };
  const authority = (): Buffer => readFileSync(join(site.site.state, "site/client-ca.pem"));
  const ask = (key: string, body: Record<string, unknown> = {}): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const text = JSON.stringify({ model: MODEL, messages: [{ role: "user", content: "hello" }], ...body });
      const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
      const path = "/v1/chat/completions";
      const options = { host: "127.0.0.1", port: PORT, path, method: "POST", ca: authority(), headers, agent: false };
      request(options, (response) => {
        let got = "";
        response.setEncoding("utf8").on("data", (piece: string) => {
          got += piece;
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body: got }));
      })
        .on("error", reject)
        .end(text);
    });
  const isAnswered = async (key: string, status: number): Promise<void> => {
    const end = performance.now() + REMEMBERED_MS;
    let got = await ask(key);
    while (got.status !== status && performance.now() < end) {
      await sleep(250);
      got = await ask(key);
    }
    assert.equal(got.status, status, got.body);
  };

  it("adds a tenant and a key that is shown once, and takes both away again", async () => {
    const listed = async (): Promise<string[]> => {
      const { stdout } = await site.run("tenant", "list", "--json");
      return (JSON.parse(stdout) as { tenants: { name: string }[] }).tenants.map(({ name }) => name);
    };
    assert.deepEqual(await listed(), ["default"]);
    const plan = await site.run("tenant", "add", "acme", "--plan");
    assert.match(plan.stdout, new RegExp(`adds tenant acme, which reaches the models ${MODEL}`));
    const unsigned = await site.run("tenant", "add", "acme");
    assert.equal(unsigned.exit, 3, unsigned.stderr);
    assert.deepEqual(await listed(), ["default"]);
    await site.change("tenant", "add", "acme");
    await site.refused(4, "TENANT_EXISTS", "tenant", "add", "acme");
    await site.refused(4, "TENANT_UNKNOWN", "api-key", "add", "--tenant", "acm", "--for", "robot");
    await site.refused(4, "MODEL_UNKNOWN", "tenant", "models", "acme", "--model", "gpt");
    await site.refused(2, "USAGE", "api-key", "add", "--tenant", "acme", "--for", "Robot");

    const made = await site.change("api-key", "add", "--tenant", "acme", "--for", "robot", "--days", "30", "--json");
    robotKey = keyIn(made.stdout);
    const prefix = robotKey.split("_")[1] ?? "";
    assert.equal((await ask(robotKey)).status, 200);
    const keys = await site.run("api-key", "list", "--tenant", "acme");
    assert.match(keys.stdout, new RegExp(`^slk_${prefix}_… {2}acme/robot {2}chat,models,usage {2}until .* used`));
    assert.ok(!keys.stdout.includes(robotKey));
    await site.change("tenant", "disable", "acme");
    await isAnswered(robotKey, 401);
    assert.equal((await ask(firstKey)).status, 200, "another tenant's key goes on");
    await site.change("tenant", "enable", "acme");
    await isAnswered(robotKey, 200);

    // An operator who is not here signs a request, which is for this one key and no other.
    const file = join(directory, "key.request");
    const options = ["--tenant", "acme", "--for", "second"];
    const key = ["--key", site.site.operatorKey];
    assert.equal((await site.run("authorize", "api-key", "add", ...options, "--out", file, ...key)).exit, 0);
    const signed = ["--request", file, "--authorization", `${file}.sig`];
    const other = await site.run("api-key", "add", "--tenant", "acme", "--for", "third", ...signed);
    assert.match(other.stderr, /\[AUTHORIZATION_OTHER_PLAN\]/);
    const second = keyIn((await site.run("api-key", "add", ...options, ...signed, "--json")).stdout);
    assert.equal((await ask(second)).status, 200);
    await site.change("api-key", "revoke", second.split("_")[1] ?? "");
    await isAnswered(second, 401);
    await site.refused(4, "TENANT_UNCHANGED", "api-key", "revoke", second.split("_")[1] ?? "");

    const ledger = await site.run("ledger", "verify");
    assert.equal(ledger.exit, 0, ledger.stdout);
    const files = readdirSync(site.site.state, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
    for (const one of files.filter(({ parentPath }) => !parentPath.includes("/store"))) {
      const path = join(one.parentPath, one.name);
      assert.ok(!readFileSync(path).includes(robotKey.slice(-43)), path);
    }
  });

  it("changes a limit and one tenant's policy for personal data", async () => {
    const mail = { messages: [{ role: "user", content: "write to jane.doe@example.com" }] };
    assert.equal((await ask(robotKey, mail)).status, 200);
    assert.equal((await ask(robotKey, { max_tokens: 900 })).status, 200);
    const file = join(directory, "limits.json");
    const policy = { tenants: { acme: { request: { email: { mode: "strict" } } } } };
    const set = ["tokensMax=800", `piiPolicy=${JSON.stringify(policy)}`, "--file", file];
    assert.equal((await site.run("config", "set", ...set)).exit, 0);
    await site.change("config", "apply", file);
    const tooMany = await ask(robotKey, { max_tokens: 900 });
    assert.deepEqual([tooMany.status, /800/.test(tooMany.body)], [400, true], tooMany.body);
    const blocked = await ask(robotKey, mail);
    assert.ok(blocked.status >= 400 && blocked.status < 500, blocked.body);
    assert.ok(!blocked.body.includes("jane.doe"));
    assert.equal((await ask(firstKey, mail)).status, 200, "the other tenant has the policy that is built in");
    await writeFile(file, JSON.stringify({ clientPort: PORT, tokensMax: 0 }));
    await site.refused(2, "CONFIG_MALFORMED", "config", "apply", file);
  });

  const served = (): Promise<X509Certificate> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port: PORT, rejectUnauthorized: false }, () => {
        const certificate = socket.getPeerX509Certificate();
        socket.destroy();
        if (certificate) resolve(certificate);
        else reject(new Error("no certificate"));
      });
      socket.once("error", reject);
    });

  it("renews the certificate that clients see, and loses no request", async () => {
    const old = await served();
    const before = authority();
    const load = await startLoad({
      origin: `https://127.0.0.1:${PORT}`,
      caFile: join(site.site.state, "site/client-ca.pem"),
      request: {
        path: "/v1/models",
        headers: { authorization: `Bearer ${firstKey}` },
        includes: MODEL,
      },
      keptPerSecond: 10,
      newPerSecond: 10,
      release: { header: "sealift-release" },
    });
    await site.change("tls", "renew").finally(async () => {
      const report = await load.stop();
      assert.equal(failedRequests(report), 0, JSON.stringify(report));
    });
    const renewed = await served();
    assert.notEqual(renewed.fingerprint256, old.fingerprint256);
    assert.ok(renewed.verify(new X509Certificate(before).publicKey), "the authority is the one that clients trust");
    assert.ok(authority().equals(before));
    await site.assertAt("1.0.0");
  });

  it("makes another certificate when the configuration changes how clients call it", async () => {
    const before = authority();
    const file = join(directory, "names.json");
    const set = ['publicNames=["ai.example.com","127.0.0.1"]', "--file", file];
    assert.equal((await site.run("config", "set", ...set)).exit, 0);
    const plan = await site.run("config", "apply", file, "--plan");
    assert.match(plan.stdout, /CLIENTS MUST TRUST ANOTHER AUTHORITY/);
    await site.change("config", "apply", file);
    assert.equal((await served()).subjectAltName, "DNS:ai.example.com, IP Address:127.0.0.1");
    assert.ok(!authority().equals(before));
    assert.equal((await ask(firstKey)).status, 200);
  });

  it("takes a certificate of the customer's authority for a key that never left the site", async () => {
    const csr = join(directory, "site.csr");
    const asked = await site.run("tls", "csr", "--out", csr);
    assert.equal(asked.exit, 0, asked.stderr);
    const publicKey = createPublicKey(execFileSync("openssl", ["req", "-in", csr, "-noout", "-pubkey", "-verify"]));
    const issuer = { name: "customer", privateKey: makeKey() };
    const sign = (names: readonly string[]): string =>
      writeCertificate({
        subject: "ai.example.com",
        publicKey,
        issuer,
        names,
        notBefore: new Date(Date.now() - DAY_MS),
        notAfter: new Date(Date.now() + 20 * DAY_MS),
        purposes: ["server"],
      });
    const [good, bad] = [join(directory, "good.pem"), join(directory, "bad.pem")];
    await writeFile(good, sign(["ai.example.com", "127.0.0.1"]));
    await writeFile(bad, sign(["other.example.com"]));
    await site.refused(3, "TLS_NAME_MISSING", "tls", "import", bad);
    await site.refused(3, "TLS_KEY_MISMATCH", "tls", "import", good, "--tls-key", site.site.operatorKey);
    const before = await served();
    assert.match((await site.run("tls", "import", good, "--plan")).stdout, /fingerprint: (?:[0-9A-F]{2}:){31}/);
    assert.equal((await served()).fingerprint256, before.fingerprint256);
    await site.change("tls", "import", good);
    const imported = await served();
    assert.equal(imported.fingerprint256, new X509Certificate(readFileSync(good)).fingerprint256);
    const left = readdirSync(join(site.site.state, "site"));
    assert.deepEqual(
      left.filter((name) => name.startsWith("certificate")),
      [],
      "its key lies with the gateway only",
    );
    const status = await site.run("status");
    assert.equal(status.exit, 0, status.stdout);
    assert.match(status.stdout, /soon: the certificate for clients ends on .* in 19 days: sealift tls csr/);
    assert.match((await site.run("doctor")).stdout, /FAIL certificate +the certificate for clients ends on/);
    await site.change("tls", "renew");
    assert.deepEqual((await site.assertAt("1.0.0")).problems, []);
    assert.equal((await site.run("ledger", "verify")).exit, 0);
  });

  const secret = (file: string): string => readFileSync(join(site.site.state, "secrets", file), "latin1");
  const docker = async (...args: readonly string[]): Promise<string> => {
    const { status, stdout, stderr } = await runCall(dockerCall(site.engine.engine, args), { timeoutMs: 60_000 });
    return status === 0 ? stdout.trim() : `refused: ${stderr}`;
  };
  /** What Postgres says to the gateway's role, to somebody on its network with a certificate of the site. */
  const loginToPostgres = async (password: string): Promise<string> => {
    const id = await docker("ps", "--quiet", "--filter", "label=com.docker.compose.service=postgres");
    const identity = "/run/secrets/identity.pem";
    const tls = `sslmode=verify-ca sslcert=${identity} sslkey=${identity} sslrootcert=${identity}`;
    const address = `host=127.0.0.1 user=gateway dbname=gateway ${tls}`;
    return docker("exec", "--env", `PGPASSWORD=${password}`, id, "psql", address, "-qtAc", "SELECT 1");
  };
  /** Chats all the while, each of which needs Postgres, pii, audit and the model. */
  const chatting = async (work: () => Promise<unknown>): Promise<void> => {
    const answers: Answer[] = [];
    let isOver = false;
    const client = async (): Promise<void> => {
      while (!isOver) {
        answers.push(await ask(firstKey));
        await sleep(100);
      }
    };
    const clients = [client(), client()];
    await work().finally(() => {
      isOver = true;
    });
    await Promise.all(clients);
    const lost = answers.filter(({ status }) => status !== 200);
    assert.deepEqual(lost, [], `${lost.length} of ${answers.length}`);
    assert.ok(answers.length > 50, String(answers.length));
  };

  it("rotates secrets and certificates, loses no request, and what was before counts no more", async () => {
    const files = {
      secrets: ["gateway/database-password", "audit/principal-key", "pii/principal-key", "gateway/pii-principal-key"],
      certificates: ["gateway", "audit", "pii", "postgres"].map((service) => `${service}/identity/identity.pem`),
    };
    const pepper = secret("gateway/api-key-pepper");
    const plan = await site.run("rotate", "secrets", "--plan");
    assert.match(plan.stdout, /another value for gateway\/database-password, postgres\/gateway-password/);
    assert.match(plan.stdout, /predicted pause: .*; started anew: audit, postgres/);
    const unsigned = await site.run("rotate", "secrets");
    assert.equal(unsigned.exit, 3, unsigned.stderr);
    const oldPassword = secret("gateway/database-password");
    assert.equal(await loginToPostgres(oldPassword), "1");
    const oldCertificate = await served();
    for (const wish of ["secrets", "certificates"] as const) {
      const before = files[wish].map(secret);
      await chatting(() => site.change("rotate", wish));
      for (const [i, file] of files[wish].entries()) assert.notEqual(secret(file), before[i], file);
      const status = await site.assertAt("1.0.0");
      assert.deepEqual(status.problems, []);
      const { stdout } = await site.run("ledger", "show", "--json");
      const { entries } = JSON.parse(stdout) as { entries: { data: Record<string, unknown> }[] };
      assert.deepEqual(
        [entries.at(-1)?.data["operation"], entries.at(-1)?.data["result"], entries.at(-1)?.data["rotated"]],
        ["rotate", "committed", wish],
      );
    }
    assert.match(await loginToPostgres(oldPassword), /password authentication failed/);
    assert.equal(await loginToPostgres(secret("gateway/database-password")), "1");
    assert.notEqual((await served()).fingerprint256, oldCertificate.fingerprint256);
    assert.equal(secret("gateway/api-key-pepper"), pepper, "API keys stay good");
    assert.ok(!readdirSync(join(site.site.state, "site")).includes("rotation"), "no old value is left");
    assert.equal((await site.run("ledger", "verify")).exit, 0);
  });

  it("keeps no private key that runbooks/keys.md does not name", () => {
    const page = readFileSync(new URL("../../runbooks/keys.md", import.meta.url), "utf8");
    const files = readdirSync(site.site.state, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
    const paths = files.map((one) => join(one.parentPath, one.name).slice(site.site.state.length + 1));
    const holding = paths.filter((path) => {
      return !path.startsWith("store/") && readFileSync(join(site.site.state, path)).includes("PRIVATE KEY-----");
    });
    assert.ok(holding.length > 5, holding.join(", "));
    assert.deepEqual(
      holding.filter((path) => !page.includes(`\`${path}\``)),
      [],
    );
  });

  it("the ledger and the audit log are each other's witness", async () => {
    const agreed = await site.run("audit", "verify", "--json");
    const { holds, ledgerEntries, findings } = JSON.parse(agreed.stdout) as Record<string, unknown>;
    assert.deepEqual([agreed.exit, holds, findings], [0, true, []], agreed.stdout);
    assert.ok(Number(ledgerEntries) > 5, String(ledgerEntries));
    const whole = await site.run("ledger", "verify", "--json");
    const { auditLog } = JSON.parse(whole.stdout) as { auditLog: { entries: number } };
    assert.deepEqual([whole.exit, auditLog.entries], [0, ledgerEntries], whole.stdout);

    // Root takes the last change out of the ledger: the chain holds, and the log knows better.
    const path = join(site.site.state, "ledger");
    const ledger = readFileSync(path);
    const lines = ledger.toString().trimEnd().split("\n");
    await writeFile(path, `${lines.slice(0, 4).join("\n")}\n`);
    for (const verb of ["ledger", "audit"]) {
      const rewound = await site.run(verb, "verify");
      assert.equal(rewound.exit, 3, rewound.stdout);
      assert.match(rewound.stdout, /\[LEDGER_REWOUND\]/);
    }
    await writeFile(path, ledger);
    const again = await site.run("ledger", "verify");
    assert.equal(again.exit, 0, again.stdout);
  });
}
