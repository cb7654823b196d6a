/**
 * The caged process that appraises evidence: reads one case from standard input, answers on standard output,
 * and is started without files, network and other processes (../cage/run-cage.ts).
 */
import { createInterface } from "node:readline";
import { plainJson } from "../../bundles/model/plain-text.ts";
import { appraiseEvidence } from "./appraise-evidence.ts";
import type { CagedCase } from "./appraise-in-cage.ts";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { value, done } = await lines.next();
if (done) throw new Error("the parent process went away");
const question = JSON.parse(value) as CagedCase;
const bytes = (base64: string): Buffer => Buffer.from(base64, "base64");
const verdict = appraiseEvidence({
  evidence: bytes(question.evidence),
  collateral: question.collateral.map((file) => ({ name: file.name, bytes: bytes(file.base64) })),
  policyBytes: bytes(question.policy),
  nonce: question.nonce === null ? null : bytes(question.nonce),
  challenge: question.challenge === null ? null : bytes(question.challenge),
  reference: question.reference ?? null,
  time: question.time,
});
process.stdout.write(`${plainJson({ id: question.id, verdict }, 0)}\n`);
