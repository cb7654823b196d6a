/**
 * What the gateway writes down of a request: who, what kind, how much, how it ended. Of what was said, only
 * a keyed hash: whoever has a text and the key can tell that it was this one, nobody can read it.
 */
import { createHmac } from "node:crypto";
import type { AuditEvent } from "@sealift/service-kit/audit-client.ts";
import type { Principal } from "@sealift/service-kit/principal.ts";
import type { Call, Findings, Refusal } from "./call.ts";
import { GATES } from "./gates/controls.ts";

/** `request.refused.<name of the gate>` for each gate. */
export const EVENT_TYPES: readonly string[] = [
  "request.allowed",
  ...GATES.map(({ name }) => `request.refused.${name}`),
  "request.settled",
];

/** Of the outcome of an allowed request. */
export interface Settlement {
  readonly outcome: "answered" | "refused" | "client-gone" | "model-failed" | "answer-blocked" | "not-recorded";
  /** Of HTTP; 0 if no answer was begun. */
  readonly status: number;
  readonly servedModel: string | undefined;
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
  readonly answerBytes: number;
  readonly findings: Findings;
  readonly durationMs: number;
}

export interface Recorder {
  /** Resolves when the event is on stable storage. Rejects if it is not known to be. */
  append(event: AuditEvent, principal?: Principal): Promise<unknown>;
}

export interface RecordContext {
  readonly release: string;
  /** Keys the hashes of prompts. */
  readonly recordKey: string;
}

function event(type: string, { requestId, login, operation, source }: Call): AuditEvent {
  return {
    type,
    requestId,
    tenant: login?.tenantId,
    actor: login?.principalId,
    key: login?.keyId,
    role: login?.role,
    source,
    operation,
  };
}

export interface Decision {
  readonly refusal: Refusal | undefined;
  /** What the model gets, or would get. */
  readonly forModel: Buffer | undefined;
  /** Refusals before this one that have no record of their own. */
  readonly unrecorded: number | undefined;
}

export function decisionRecord(
  call: Call,
  { refusal, forModel, unrecorded }: Decision,
  context: RecordContext,
): AuditEvent {
  const { chat, findings, policy } = call;
  return {
    ...event(refusal ? `request.refused.${refusal.gate}` : "request.allowed", call),
    release: context.release,
    control: refusal?.control,
    policy,
    problem: refusal?.problem.name,
    ...(unrecorded && { counts: { unrecorded } }),
    ...(chat &&
      forModel && {
        // The client's own word until the gate for models has passed it.
        model: refusal ? undefined : chat.model,
        stream: chat.stream,
        messages: chat.messages,
        bytes: forModel.length,
        promptHmac: promptHmac(call, forModel, context.recordKey),
      }),
    ...(Object.keys(findings).length > 0 && { findings }),
  };
}

export function settlementRecord(call: Call, settlement: Settlement): AuditEvent {
  const { findings, ...rest } = settlement;
  return { ...event("request.settled", call), ...rest, ...(Object.keys(findings).length > 0 && { findings }) };
}

/** A key for each tenant: equal prompts of two tenants are not seen to be equal. */
function promptHmac({ login }: Call, forModel: Buffer, recordKey: string): string {
  const ofTenant = createHmac("sha256", recordKey)
    .update(`prompt v1|${login?.tenantId ?? ""}`)
    .digest();
  return createHmac("sha256", ofTenant).update(forModel).digest("hex");
}

export function sourceHmac(address: string, recordKey: string): string {
  return createHmac("sha256", recordKey).update(`source v1|${address}`).digest("hex").slice(0, 32);
}
