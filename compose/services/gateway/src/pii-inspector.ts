/**
 * The inspector that asks the pii service. Questions of a tenant that come while others are under way go
 * together: for the service a text is a text, and a question costs more than scanning a short one.
 */
import { setImmediate } from "node:timers/promises";
import type { Peer } from "@sealift/service-kit/peer-client.ts";
import type { Findings } from "./call.ts";
import { addFindings, type InspectedText, type Inspection, type Inspector, type Question } from "./inspector.ts";

/** The answer of `POST /v1/scan`, as far as the gateway reads it. */
interface ScanAnswer {
  readonly decision: Inspection["decision"];
  readonly policy: string;
  readonly texts: readonly ScannedText[];
}

interface ScannedText extends InspectedText {
  readonly decision: Inspection["decision"];
  readonly counts: Findings;
}

interface Waiting {
  readonly question: Question;
  readonly resolve: (inspection: Inspection) => void;
  readonly reject: (cause: unknown) => void;
}

/** One is scanned while the next one travels. */
const UNDER_WAY_MAX = 2;
/** What the service takes is twice as much; a question by itself may be larger than this. */
const BATCH_MAX_TEXTS = 500;
const BATCH_MAX_CHARACTERS = 256 * 1024;

export function piiInspector(peer: Pick<Peer, "post">): Inspector {
  const waiting: Waiting[] = [];
  let underWay = 0;

  const ask = async (batch: readonly Waiting[]): Promise<void> => {
    try {
      const { decision, policy, texts } = await scan(
        peer,
        batch.map(({ question }) => question),
      );
      // Then the service gives no text back, also none of those that it only changed.
      if (decision === "deny" && batch.length > 1) {
        await Promise.all(batch.map((one) => ask([one])));
        return;
      }
      let from = 0;
      for (const { question, resolve } of batch) {
        resolve(inspectionOf(policy, texts.slice(from, from + question.texts.length)));
        from += question.texts.length;
      }
    } catch (cause) {
      for (const { reject } of batch) reject(cause);
    }
  };
  const pump = async (): Promise<void> => {
    underWay += 1;
    // What this turn of the event loop brings goes together.
    await setImmediate();
    while (waiting.length > 0) await ask(takeBatch(waiting));
    underWay -= 1;
  };
  return {
    inspect: (question) =>
      new Promise((resolve, reject) => {
        waiting.push({ question, resolve, reject });
        if (underWay < UNDER_WAY_MAX) void pump();
      }),
  };
}

/** The first that waits, and as many of the same tenant and channel as go with it. */
function takeBatch(waiting: Waiting[]): Waiting[] {
  const [first] = waiting;
  const batch: Waiting[] = [];
  let texts = 0;
  let characters = 0;
  for (const one of waiting) {
    const { tenant, channel, texts: more } = one.question;
    if (tenant !== first?.question.tenant || channel !== first.question.channel) continue;
    texts += more.length;
    for (const { text } of more) characters += text.length;
    if (one !== first && (texts > BATCH_MAX_TEXTS || characters > BATCH_MAX_CHARACTERS)) break;
    batch.push(one);
  }
  const taken = new Set(batch);
  waiting.splice(0, waiting.length, ...waiting.filter((one) => !taken.has(one)));
  return batch;
}

async function scan(peer: Pick<Peer, "post">, questions: readonly Question[]): Promise<ScanAnswer> {
  const [{ requestId, tenant, channel }] = questions as readonly [Question];
  const texts = questions.flatMap((question) => question.texts).map((text, index) => ({ id: String(index), ...text }));
  const answer = (await peer.post("/v1/scan", { tenant, channel, texts }, requestId)) as ScanAnswer;
  if (answer.texts.length !== texts.length) throw new Error("another number of texts");
  return answer;
}

function inspectionOf(policy: string, texts: readonly ScannedText[]): Inspection {
  let findings: Findings = {};
  for (const { counts } of texts) findings = addFindings(findings, counts);
  const is = (wanted: Inspection["decision"]): boolean => texts.some(({ decision }) => decision === wanted);
  return { decision: is("deny") ? "deny" : is("redact") ? "redact" : "allow", policy, findings, texts };
}
