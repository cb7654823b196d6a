/**
 * The caged process that judges: reads a case from standard input, the bundle from inherited file
 * descriptors, and answers on standard output. It needs no file, no network and no other process, and is
 * started so that it has none (run-cage.ts).
 */
import { createInterface } from "node:readline";
import { readLayout, type Store } from "../../bundles/layout/layout.ts";
import { plainJson } from "../../bundles/model/plain-text.ts";
import { type HashTask, hashTasks } from "./hash-tasks.ts";
import type { Case, HashResults, Judgement } from "./protocol.ts";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function nextLine(): Promise<string> {
  const { value, done } = await lines.next();
  if (done) throw new Error("the parent process went away");
  return value;
}

/** Done when the parent has it all: a verdict on many images is larger than what a pipe holds. */
function write(value: unknown): Promise<void> {
  return new Promise((resolve) => process.stdout.write(`${plainJson(value, 0)}\n`, () => resolve()));
}

/** No tasks if the store cannot be read as a layout; verifyRelease finds out why and says so. */
function tasksOf(store: Store): HashTask[] {
  try {
    return hashTasks(readLayout(store));
  } catch {
    return [];
  }
}

const question = JSON.parse(await nextLine()) as Case;
await write({ tasks: tasksOf(question.store) });
let isBaseAsked = false;
const { verifyRelease } = await import("../verify.ts");
const { verdict, contents } = await verifyRelease({
  ...question,
  trustFiles: new Map(Object.entries(question.trustFiles).map(([name, bytes]) => [name, Buffer.from(bytes, "base64")])),
  policyBytes: Buffer.from(question.policy, "base64"),
  approvals: question.approvals.map((base64) => Buffer.from(base64, "base64")),
  imported: question.imported && {
    ...question.imported,
    signatures: question.imported.signatures.map((base64) => Buffer.from(base64, "base64")),
  },
  hashed: async (borrowed) => {
    const { got } = JSON.parse(await nextLine()) as HashResults;
    if (question.store.base === undefined) return new Map(Object.entries(got));
    // Which blobs of the base count is known only now that the signatures hold and the release was read.
    await write({ tasks: borrowed.length === 0 ? [] : hashTasks(readLayout(question.store), borrowed) });
    isBaseAsked = true;
    const more = JSON.parse(await nextLine()) as HashResults;
    return new Map([...Object.entries(got), ...Object.entries(more.got)]);
  },
});
// The parent expects the round for the base also where the bundle was denied before it came to that.
if (question.store.base !== undefined && !isBaseAsked) await write({ tasks: [] });
await write({ nonce: question.nonce, verdict, contents } satisfies Judgement);
process.exit(0);
