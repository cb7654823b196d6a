/** The verbs that build, sign and rebuild, as a release engineer calls them; images come out of a layout, so no network. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { copyFile, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";
import { smallRelease, smallRules, writeSmallBundle } from "../support/small-bundle.ts";

const PASSWORD = { COSIGN_PASSWORD: "test" };
const COMPOSE = JSON.stringify({
  services: { a: { image: "audit" }, front: { image: "gateway" } },
  "x-sealift": smallRules("a"),
});

async function appliance(root: string): Promise<string> {
  await writeSmallBundle(join(root, "images.tar"), smallRelease());
  await writeFile(join(root, "compose.yaml"), COMPOSE);
  await writeFile(join(root, "config.schema.json"), '{"type":"object"}');
  const path = join(root, "appliance.yaml");
  await writeFile(
    path,
    JSON.stringify({
      schemaVersion: 1,
      appliance: "test",
      channel: "stable",
      images: { gateway: { layout: "images.tar#gateway" }, audit: { layout: "images.tar#audit" } },
      compose: "compose.yaml",
      configSchema: "config.schema.json",
    }),
  );
  return path;
}

/** Runs a verb that must end with `exit`, and returns its JSON document. */
async function json(exit: number, ...args: string[]): Promise<Record<string, unknown>> {
  const result = await sealift([...args, "--json"], PASSWORD);
  assert.equal(result.exit, exit, `${args.join(" ")}\n${result.stderr}`);
  return JSON.parse(result.stdout) as Record<string, unknown>;
}

const errorOf = (document: Record<string, unknown>) => (document["error"] as { code: string } | undefined)?.code;

test("lock, build, sign in three roles, verify, rebuild", async (t) => {
  const root = await scratch(t);
  const file = await appliance(root);
  const bundle = join(root, "out.tar");
  assert.equal(
    errorOf(await json(4, "bundle", "build", "--appliance", file, "--version", "1.0.0", "--out", bundle)),
    "LOCK_MISSING",
  );
  await json(0, "bundle", "lock", "--appliance", file);
  const build = ["bundle", "build", "--appliance", file, "--version", "1.0.0", "--out", bundle];
  const built = await json(0, ...build);
  assert.match(String(built["digest"]), /^sha256:[0-9a-f]{64}$/);

  for (const name of ["root", "builder", "security", "release"])
    await json(0, "key", "generate", "--out", join(root, name));
  assert.equal(errorOf(await json(4, "key", "generate", "--out", join(root, "root"))), "FILE_EXISTS");
  const trust = join(root, "trust");
  const roles = ["builder", "security", "release"].flatMap((role) => ["--role", `${role}=${join(root, role)}.pub`]);
  await json(0, "trust", "init", "--out", trust, "--root-key", join(root, "root.key"), ...roles);
  assert.equal((await json(3, "verify", bundle, "--trust", trust))["decision"], "deny");
  assert.equal((await json(0, ...build))["digest"], built["digest"], "nobody has signed it yet");
  for (const role of ["builder", "security"]) {
    await json(0, "bundle", "sign", bundle, "--role", role, "--key", join(root, `${role}.key`));
  }
  const signature = join(root, "release.signature");
  const digestOnly = [
    "bundle",
    "sign",
    "--digest",
    String(built["digest"]),
    "--key",
    join(root, "release.key"),
    "--out",
    signature,
  ];
  await json(0, ...digestOnly);
  assert.notEqual((await sealift(digestOnly, PASSWORD)).exit, 0, "a signature is not overwritten");
  await json(0, "bundle", "attach", bundle, signature);
  const hash = async () =>
    createHash("sha256")
      .update(await readFile(bundle))
      .digest("hex");
  const before = await hash();
  await json(0, "bundle", "attach", bundle, signature);
  assert.equal(await hash(), before, "the same signature twice changes nothing");
  assert.equal(errorOf(await json(4, ...build)), "FILE_EXISTS");
  assert.equal(await hash(), before, "signatures are not built over");
  const verdict = await json(0, "verify", bundle, "--trust", trust);
  assert.equal(verdict["decision"], "allow");
  assert.equal(verdict["scope"], "advisory");
  assert.deepEqual(verdict["subject"], { digest: built["digest"], appliance: "test", version: "1.0.0" });

  assert.deepEqual(await json(0, "bundle", "rebuild", bundle, "--appliance", file), {
    same: true,
    want: built["digest"],
    got: built["digest"],
    differences: [],
    statement: null,
  });

  // Two rebuilders with checkouts of their own; only their statements come back.
  const rebuilders: object[] = [];
  for (const name of ["nora", "otto"]) {
    await json(0, "key", "generate", "--out", join(root, name), "--password-env", "COSIGN_PASSWORD");
    rebuilders.push({ holder: name, publicKey: await readFile(join(root, `${name}.pub`), "utf8") });
    await copyFile(bundle, join(root, `${name}.tar`));
    const key = ["--key", join(root, `${name}.key`), "--password-env", "COSIGN_PASSWORD"];
    const options = ["--appliance", file, "--builder-id", `https://${name}.example`];
    const { statement } = await json(0, "bundle", "rebuild", join(root, `${name}.tar`), ...options, ...key);
    const before = await readFile(bundle);
    const attached = await json(0, "bundle", "attach", bundle, String(statement));
    assert.deepEqual([attached["attached"], (attached["beside"] as string[]).length], [0, 1]);
    assert.deepEqual(await readFile(bundle), before);
  }
  const policy = join(root, "policy.json");
  const acceptNotChecked = ["cage", "scan", "revocation", "attestation"];
  const demand = (threshold: number, people: readonly object[]) =>
    JSON.stringify({
      schemaVersion: 1,
      name: "rebuilt",
      rebuilds: { threshold, rebuilders: people },
      acceptNotChecked,
    });
  await writeFile(policy, demand(2, rebuilders));
  const judged = async (want: number): Promise<string> => {
    const document = await json(want, "verify", bundle, "--trust", join(root, "trust"), "--policy", policy);
    const findings = document["findings"] as { check: string; status: string; code: string }[];
    const { status, code } = findings.find(({ check }) => check === "rebuilt") ?? {};
    return `${status} ${code}`;
  };
  assert.equal(await judged(0), "pass ");
  await writeFile(
    policy,
    demand(1, [{ holder: "mona", publicKey: await readFile(join(root, "builder.pub"), "utf8") }]),
  );
  assert.equal(await judged(3), "fail REBUILDER_NOT_INDEPENDENT");
  for (const name of await readdir(root)) if (name.includes(".rebuild-")) await rm(join(root, name));
  await writeFile(policy, demand(2, rebuilders));
  assert.equal(await judged(3), "fail REBUILD_MISSING");
  assert.ok(!(await readdir(root)).some((name) => name.endsWith(".partial")));
});

test("rebuild says what differs, with exit 3", async (t) => {
  const root = await scratch(t);
  const file = await appliance(root);
  const bundle = join(root, "out.tar");
  await json(0, "bundle", "lock", "--appliance", file);
  await json(0, "bundle", "build", "--appliance", file, "--version", "1.0.0", "--out", bundle);
  await writeFile(join(root, "compose.yaml"), COMPOSE.replace('"audit"', '"audit","read_only":true'));
  const { exit, stderr, stdout } = await sealift(["bundle", "rebuild", bundle, "--appliance", file]);
  assert.equal(exit, 3);
  assert.match(stderr, /\[REBUILD_DIFFERS\]: rebuilt release differs in: compose$/m);
  assert.match(stdout, /^bundle {3}sha256:[0-9a-f]{64}\nrebuilt {2}sha256:[0-9a-f]{64}$/m);
  const document = await json(3, "bundle", "rebuild", bundle, "--appliance", file);
  assert.deepEqual([document["same"], document["differences"]], [false, ["compose"]]);
});

const usage: readonly (readonly [string, ...string[]])[] = [
  ["there is no verb", "nope"],
  ["BUNDLE is missing", "verify"],
  ["--appliance is missing", "bundle", "build"],
  ["--out is missing", "bundle", "build", "--appliance", "FILE"],
  ["--role is missing", "bundle", "sign", "BUNDLE", "--key", "K"],
  ["--role: got", "bundle", "sign", "BUNDLE", "--role", "nobody", "--key", "K"],
  ["--digest: got", "bundle", "sign", "--digest", "sha256:1", "--key", "K", "--out", "F"],
  ["Unknown option", "verify", "BUNDLE", "--force"],
  ["unexpected argument", "bundle", "inspect", "A", "B"],
];

for (const [text, ...args] of usage) {
  test(`usage error, exit 2: ${args.join(" ")}`, async (t) => {
    const file = await appliance(await scratch(t));
    const { exit, stdout, stderr } = await sealift(
      args.map((arg) => (arg === "FILE" ? file : arg)),
      PASSWORD,
    );
    assert.equal(exit, 2, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, /^sealift: error \[USAGE\]: /m);
    assert.ok(stderr.includes(text), stderr);
    assert.match(stderr, /^ {2}hint: sealift help/m);
  });
}
