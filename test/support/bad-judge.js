/** Stands in the judge's place and misbehaves as the question's `sealiftVersion` says. */
import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const question = JSON.parse(String((await lines.next()).value));
const how = question.sealiftVersion;

/** @param {unknown} value */
const say = (value) => process.stdout.write(`${typeof value === "string" ? value : JSON.stringify(value)}\n`);
const checks = [
  ...["cage", "layout", "digests", "trust", "signatures", "release", "identity", "images", "sbom", "provenance"],
  ...["compose", "scan", "rebuilt", "revocation", "attestation"],
];
const finding = { subject: "x", status: "pass", code: "", message: "x", reason: "" };
const verdict = {
  schemaVersion: 1,
  decision: "allow",
  scope: question.scope,
  subject: { digest: null, appliance: null, version: null },
  policy: { digest: question.policyDigest },
  trust: { rootVersion: 1, targetsVersion: 1, rootFingerprint: null, expires: null },
  time: question.time,
  signatures: [],
  provenance: [],
  findings: checks.map((check) => ({ check, ...finding })),
};
const { createHash } = await import("node:crypto");
verdict.policy.digest = `sha256:${createHash("sha256").update(Buffer.from(question.policy, "base64")).digest("hex")}`;

if (how === "dies at once") process.exit(0);
if (how === "kills itself") process.kill(process.pid, "SIGKILL");
if (how === "crashes") throw new Error("taken over\u001b[2J");
if (how === "says nothing") await new Promise((resolve) => setTimeout(resolve, 60_000));
if (how === "spins") for (;;);
if (how === "asks for garbage") say("garbage");
if (how === "asks to hash standard input") {
  say({ tasks: [{ digest: `sha256:${"0".repeat(64)}`, extents: [{ fd: 0, position: 0, length: 10 }] }] });
}
if (how === "talks without end") {
  const chunk = Buffer.alloc(1024 * 1024, "x");
  for (;;) if (!process.stdout.write(chunk)) await new Promise((resolve) => process.stdout.once("drain", resolve));
}
say({ tasks: [] });
await lines.next();
if (how === "dies before its verdict") process.exit(0);
if (how === "answers garbage") say("allow");
if (how === "answers another question") say({ nonce: "0", verdict });
if (how === "answers without a nonce") say({ verdict });
if (how === "adds a member") say({ nonce: question.nonce, verdict: { ...verdict, bypass: true } });
if (how === "allows what failed") {
  say({ nonce: question.nonce, verdict: { ...verdict, findings: [{ ...verdict.findings[0], status: "fail" }] } });
}
if (how === "leaves checks out") say({ nonce: question.nonce, verdict: { ...verdict, findings: [] } });
if (how === "claims the site's scope") say({ nonce: question.nonce, verdict: { ...verdict, scope: "site" } });
if (how === "judges by another time") {
  say({ nonce: question.nonce, verdict: { ...verdict, time: { at: "2000-01-01T00:00:00Z", source: "option" } } });
}
if (how === "judges by another policy") {
  say({ nonce: question.nonce, verdict: { ...verdict, policy: { digest: `sha256:${"0".repeat(64)}` } } });
}
if (how === "lies well") say({ nonce: question.nonce, verdict });
process.exit(0);
