/**
 * The inspector that asks the pii service. Questions that come while another is under way go together: a
 * request costs the service, and this process, more than scanning a short text. Each is answered by itself.
 */
import { randomUUID } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { type Peer, PeerError } from "@sealift/service-kit/peer-client.ts";
import type { PrincipalSigner } from "@sealift/service-kit/principal.ts";
import type { Findings } from "./call.ts";
import { addFindings, type InspectedText, type Inspection, type Inspector, type Question } from "./inspector.ts";

/** The answer of `POST /v1/scan`, as far as the gateway reads it. */
interface ScanAnswer {
  readonly decision: Inspection["decision"];
  readonly policy: string;
  readonly texts: readonly ScannedText[];
}

interface ScannedText extends InspectedText {
  readonly counts: Findings;
}

interface Waiting {
  readonly question: Question;
  readonly resolve: (inspection: Inspection) => void;
  readonly reject: (cause: unknown) => void;
}

/** One is scanned while the next one travels. */
const UNDER_WAY_MAX = 2;
/** What the service takes is four and twice as much; a question by itself may be larger than this. */
const BATCH_MAX_QUESTIONS = 64;
const BATCH_MAX_TEXTS = 500;
const BATCH_MAX_CHARACTERS = 256 * 1024;

export function piiInspector(peer: Pick<Peer, "post">, signer: PrincipalSigner): Inspector {
  const waiting: Waiting[] = [];
  let underWay = 0;

  const ask = async (batch: readonly Waiting[]): Promise<void> => {
    try {
      const answers = await scan(
        peer,
        signer,
        batch.map(({ question }) => question),
      );
      for (const [index, { resolve }] of batch.entries()) resolve(inspectionOf(answers[index] as ScanAnswer));
    } catch (cause) {
      // One that the service refuses must not take the others with it.
      if (batch.length > 1 && isRefusal(cause)) await Promise.all(batch.map((one) => ask([one])));
      else for (const { reject } of batch) reject(cause);
    }
  };
  const pump = async (): Promise<void> => {
    underWay += 1;
    while (waiting.length > 0) {
      // What this turn of the event loop brings comes along; the other pump may have taken it.
      await setImmediate();
      if (waiting.length > 0) await ask(takeBatch(waiting));
    }
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

/** The first that wait, as many as go together. */
function takeBatch(waiting: Waiting[]): Waiting[] {
  let count = 0;
  let texts = 0;
  let characters = 0;
  for (const { question } of waiting) {
    texts += question.texts.length;
    for (const { text, before = "" } of question.texts) characters += text.length + before.length;
    const isFull = count === BATCH_MAX_QUESTIONS || texts > BATCH_MAX_TEXTS || characters > BATCH_MAX_CHARACTERS;
    if (count > 0 && isFull) break;
    count += 1;
  }
  return waiting.splice(0, count);
}

async function scan(
  peer: Pick<Peer, "post">,
  signer: PrincipalSigner,
  questions: readonly Question[],
): Promise<readonly ScanAnswer[]> {
  const [{ principal: first }] = questions as readonly [Question];
  const body = questions.map(({ principal, channel, texts }) => ({
    requestId: principal.requestId,
    tenant: principal.tenantName,
    // Each time a new one: it is good for one use.
    principal: signer.sign(principal, randomUUID()),
    channel,
    texts: texts.map((text, index) => ({ ...text, id: String(index) })),
  }));
  const answers = (await peer.post("/v1/scan", body, first.requestId)) as readonly ScanAnswer[];
  const isAnswered = ({ texts }: Question, index: number) => answers[index]?.texts.length === texts.length;
  if (answers.length !== questions.length || !questions.every(isAnswered)) throw new Error("another number of answers");
  return answers;
}

function isRefusal(cause: unknown): boolean {
  const status = cause instanceof PeerError ? cause.status : undefined;
  return status !== undefined && status >= 400 && status < 500;
}

function inspectionOf({ decision, policy, texts }: ScanAnswer): Inspection {
  let findings: Findings = {};
  for (const { counts } of texts) findings = addFindings(findings, counts);
  return { decision, policy, findings, texts };
}
