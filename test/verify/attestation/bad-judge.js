/** Stands in the judge's place and misbehaves as the policy's name in the question says. */
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const question = JSON.parse(String((await lines.next()).value));
const bytes = (/** @type {string} */ base64) => Buffer.from(base64, "base64");
const digest = (/** @type {string} */ base64) => `sha256:${createHash("sha256").update(bytes(base64)).digest("hex")}`;
const policy = JSON.parse(bytes(question.policy).toString());
const how = policy.name;
const { ATTESTATION_CHECKS } = await import("../../../verify/attestation/attestation-verdict.ts");

const verdict = {
  schemaVersion: 1,
  decision: "allow",
  scope: "advisory",
  subject: { report: digest(question.evidence), evidence: digest(question.evidence) },
  policy: { name: policy.name, digest: digest(question.policy) },
  collateral: [],
  time: question.time,
  cage: null,
  usableUntil: null,
  endsFirst: null,
  claims: null,
  reference: null,
  assurance: {
    bootMeasured: true,
    rootfsMeasured: true,
    releaseAsserted: null,
    boundBy: ["chip", "host-data", "id-key"],
  },
  findings: ATTESTATION_CHECKS.map((check) => ({ check, status: "pass", code: "", message: "x", reason: "" })),
};
/** @param {unknown} value */
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

if (how === "dies") process.exit(0);
if (how === "garbage") process.stdout.write("garbage\n");
if (how === "other-question") say({ id: "another", verdict });
if (how === "no-verdict") say({ id: question.id, verdict: { decision: "allow" } });
if (how === "lies") say({ id: question.id, verdict: { ...verdict, findings: verdict.findings.slice(1) } });
if (how === "other-evidence") {
  say({ id: question.id, verdict: { ...verdict, subject: { ...verdict.subject, evidence: digest("") } } });
}
if (how === "more-assurance") {
  say({ id: question.id, verdict: { ...verdict, assurance: { ...verdict.assurance, releaseAsserted: digest("") } } });
}
if (how === "honest") say({ id: question.id, verdict });
process.exit(0);
