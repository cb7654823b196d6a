/**
 * The caged process that judges: reads a case from standard input, the bundle from inherited file
 * descriptors, and answers on standard output. It needs no file, no network and no other process, and is
 * started so that it has none (run-cage.ts).
 */
import { createInterface } from "node:readline";
import type { Digest } from "../../bundles/model/digest.ts";
import { verifyRelease } from "../verify.ts";
import { type Case, isHashResults, type Judgement } from "./protocol.ts";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function nextLine(): Promise<string> {
  const { value, done } = await lines.next();
  if (done) throw new Error("the parent process went away");
  return value;
}

const write = (value: unknown): boolean => process.stdout.write(`${JSON.stringify(value)}\n`);

const question = JSON.parse(await nextLine()) as Case;
const verdict = await verifyRelease({
  ...question,
  trustFiles: new Map(Object.entries(question.trustFiles).map(([name, bytes]) => [name, Buffer.from(bytes, "base64")])),
  policyBytes: Buffer.from(question.policy, "base64"),
  hash: async (tasks) => {
    write({ tasks });
    const results: unknown = JSON.parse(await nextLine());
    if (!isHashResults(results)) throw new Error("not digests");
    return new Map(Object.entries(results.got) as [Digest, Digest][]);
  },
});
write({ nonce: question.nonce, verdict } satisfies Judgement);
process.exit(0);
