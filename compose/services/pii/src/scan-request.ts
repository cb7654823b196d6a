/** The body of a scan request, read closed-world. */
import type { RunningSecret } from "./detect/candidate.ts";
import { CHANNELS, type Channel, TENANT } from "./policy.ts";
import { BEFORE_MAX } from "./scan.ts";

export interface ScanText {
  readonly id: string;
  readonly text: string;
  readonly before?: string;
  readonly running?: RunningSecret;
  readonly more?: boolean;
}

/** What belongs together: it is decided on as one. */
export interface ScanQuestion {
  readonly requestId: string;
  readonly tenant: string;
  readonly channel: Channel;
  readonly texts: readonly ScanText[];
  /** Not checked here. */
  readonly principal: unknown;
}

export interface ScanRequest {
  readonly questions: readonly ScanQuestion[];
  /** Whether they came as a list, and are answered as one. */
  readonly isList: boolean;
}

const QUESTIONS_MAX = 256;
/** Of all questions together. */
const TEXTS_MAX = 1000;
const ID_MAX = 128;
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;
const RUNNING: readonly unknown[] = ["token", "key-file"] satisfies RunningSecret[];

/** The place in the body, never what stands there. */
export class ScanRequestError extends Error {
  readonly param: string;
  constructor(param: string, want: string) {
    super(`${param}: want ${want}`);
    this.name = "ScanRequestError";
    this.param = param;
  }
}

/** @throws ScanRequestError */
export function parseScanRequest(bytes: Buffer): ScanRequest {
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new ScanRequestError("body", "JSON in UTF-8");
  }
  if (!Array.isArray(body)) return { questions: [parseQuestion(body, "")], isList: false };
  if (body.length === 0 || body.length > QUESTIONS_MAX) {
    throw new ScanRequestError("body", `one question, or 1 to ${QUESTIONS_MAX}`);
  }
  const questions = body.map((value, index) => parseQuestion(value, `[${index}]`));
  if (questions.reduce((sum, { texts }) => sum + texts.length, 0) > TEXTS_MAX) {
    throw new ScanRequestError("body", `at most ${TEXTS_MAX} texts`);
  }
  return { questions, isList: true };
}

function parseQuestion(value: unknown, path: string): ScanQuestion {
  const at = (name: string): string => (path === "" ? name : `${path}.${name}`);
  const names = ["requestId", "tenant", "channel", "texts", "principal"] as const;
  const { requestId, tenant, channel, texts, principal } = closed(value, path || "body", names);
  if (typeof requestId !== "string" || !REQUEST_ID.test(requestId)) {
    throw new ScanRequestError(at("requestId"), "1 to 64 of A-Z a-z 0-9 . _ -");
  }
  if (typeof tenant !== "string" || !TENANT.test(tenant)) {
    throw new ScanRequestError(at("tenant"), "1 to 64 of A-Z a-z 0-9 . _ -");
  }
  const known = CHANNELS.find((name) => name === channel);
  if (known === undefined) throw new ScanRequestError(at("channel"), `one of ${CHANNELS.join(", ")}`);
  if (!Array.isArray(texts) || texts.length > TEXTS_MAX) {
    throw new ScanRequestError(at("texts"), `an array of at most ${TEXTS_MAX}`);
  }
  return {
    requestId,
    tenant,
    channel: known,
    texts: texts.map((text, index) => parseText(text, at(`texts[${index}]`))),
    principal,
  };
}

function parseText(value: unknown, path: string): ScanText {
  const { id, text, before, running, more } = closed(value, path, ["id", "text", "before", "running", "more"]);
  if (typeof id !== "string" || id.length === 0 || id.length > ID_MAX) {
    throw new ScanRequestError(`${path}.id`, `a text of 1 to ${ID_MAX}`);
  }
  if (typeof text !== "string") throw new ScanRequestError(`${path}.text`, "a text");
  if (before !== undefined && (typeof before !== "string" || before.length > BEFORE_MAX)) {
    throw new ScanRequestError(`${path}.before`, `a text of at most ${BEFORE_MAX}`);
  }
  if (running !== undefined && !RUNNING.includes(running)) {
    throw new ScanRequestError(`${path}.running`, "what the answer before had there");
  }
  if (more !== undefined && typeof more !== "boolean") throw new ScanRequestError(`${path}.more`, "true or false");
  return {
    id,
    text,
    ...(before !== undefined && { before }),
    ...(running !== undefined && { running: running as RunningSecret }),
    ...(more !== undefined && { more }),
  };
}

function closed<Name extends string>(
  value: unknown,
  path: string,
  names: readonly Name[],
): Readonly<Partial<Record<Name, unknown>>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ScanRequestError(path, "an object");
  const isKnown = (name: string): boolean => (names as readonly string[]).includes(name);
  if (!Object.keys(value).every(isKnown)) throw new ScanRequestError(path, `no member but ${names.join(", ")}`);
  return value as Readonly<Partial<Record<Name, unknown>>>;
}
