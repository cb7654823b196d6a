/** Targets of the fuzzer (fuzz-targets.ts): what the services read from clients, models and each other. */
import assert from "node:assert/strict";
import { isUtf8 } from "node:buffer";
import { createHash, createHmac, createSecretKey } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { CheckpointError } from "../../compose/services/audit/src/checkpoint.ts";
import { hostDisk, type LogDisk } from "../../compose/services/audit/src/durable-files.ts";
import { epochEntry, parsePredecessor } from "../../compose/services/audit/src/epoch.ts";
import { checkEvent, EventRefused } from "../../compose/services/audit/src/event.ts";
import { PAGE_BYTES, readSegment, SegmentDamagedError } from "../../compose/services/audit/src/segment.ts";
import { encodeEntries } from "../../compose/services/audit/src/tile-path.ts";
import { AnswerError, AnswerStream, inspectAnswer, noFacts } from "../../compose/services/gateway/src/chat-answer.ts";
import { readChatRequest } from "../../compose/services/gateway/src/chat-request.ts";
import { parseOrder } from "../../compose/services/gateway/src/database/administration.ts";
import { proveApiKey } from "../../compose/services/gateway/src/database/api-key.ts";
import { eventPayloads, StreamError } from "../../compose/services/gateway/src/events.ts";
import type { Inspector } from "../../compose/services/gateway/src/inspector.ts";
import { parsePolicy } from "../../compose/services/pii/src/policy.ts";
import { type Finding, scanText, scanWindow } from "../../compose/services/pii/src/scan.ts";
import { parseScanRequest, ScanRequestError } from "../../compose/services/pii/src/scan-request.ts";
import { Identity } from "../../compose/services/service-kit/src/identity.ts";
import {
  type Principal,
  PrincipalRefused,
  PrincipalSigner,
  PrincipalVerifier,
} from "../../compose/services/service-kit/src/principal.ts";
import { SettingsError } from "../../compose/services/service-kit/src/settings.ts";
import { accepted, acceptedLater, type FuzzTarget, fuzzDirectory } from "./fuzz-target.ts";
import { testIdentities } from "./test-identities.ts";

const text = (data: Buffer): string => data.toString("utf8");
const seed = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

function jsonIn(data: Buffer): unknown {
  try {
    return JSON.parse(text(data));
  } catch {
    return undefined;
  }
}

const LIMITS = { messagesMax: 8, tokensMax: 100 };
const chat = {
  model: "m",
  messages: [
    { role: "user", content: "hello" },
    { role: "user", content: [{ type: "text", text: "a" }] },
  ],
  ...{ stream: true, stream_options: { include_usage: true }, max_tokens: 5, stop: ["x"], user: "y", seed: 1 },
  tools: [{ type: "function", function: { name: "f", parameters: { type: "object", odd: ["z"] } } }],
};

const principal: Principal = { requestId: "r", tenant: "t", tenantName: "acme", actor: "a", role: "user" };
/** Passes everything, and shows nothing of it in other pieces. */
const inspector: Inspector = {
  inspect: async ({ texts }) => ({
    ...{ decision: "allow", policy: "p", findings: {} },
    texts: texts.map((one) => ({ consumed: one.text.length })),
  }),
};
const context = () => ({ principal, inspector, facts: noFacts() });
const answer = {
  ...{ id: "1", object: "chat.completion", created: 1, model: "m", usage: { prompt_tokens: 1, completion_tokens: 2 } },
  choices: [
    { index: 0, message: { role: "assistant", content: "hello", odd: { deep: ["x"] } }, finish_reason: "stop" },
  ],
};
const delta = (said: object, more: object = {}): string =>
  `data: ${JSON.stringify({ id: "1", model: "m", choices: [{ index: 0, delta: said, finish_reason: null, ...more }] })}\n\n`;
const call = { index: 0, id: "c1", type: "function", function: { name: "f", arguments: '{"a' } };
const stream = [
  ...[": comment\n\n", delta({ role: "assistant", content: "hel" }), delta({ content: "lo" }).replaceAll("\n", "\r\n")],
  ...[delta({ tool_calls: [call] }), delta({ tool_calls: [{ index: 0, function: { arguments: '":1}' } }] })],
  ...[delta({}, { finish_reason: "stop" }), 'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n', "data: [DONE]\n\n"],
].join("");

async function* inPieces(data: Buffer, bytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += bytes) yield data.subarray(at, at + bytes);
}

/** What a client gets of the text in a stream that comes in pieces of so many bytes. */
async function relayed(data: Buffer, bytes: number): Promise<string | undefined> {
  return acceptedLater(
    async () => {
      const answers = new AnswerStream(context(), true);
      const out: string[] = [];
      for await (const payloads of eventPayloads(inPieces(data, bytes))) out.push(...(await answers.take(payloads)));
      out.push(...(await answers.end()));
      return out.map((payload) => JSON.parse(payload).choices[0]?.delta?.content ?? "").join("");
    },
    AnswerError,
    StreamError,
  );
}

/** As the gateway asks, a piece of text at a time. */
function foundInPieces(whole: string, length: number): Finding[] {
  const findings: Finding[] = [];
  let [pending, before, offset] = ["", "", 0];
  let running: ReturnType<typeof scanWindow>["running"];
  for (let at = 0; at <= whole.length; at += length) {
    const more = at + length <= whole.length;
    pending += whole.slice(at, at + length);
    const scan = scanWindow({ text: pending, before, running, more });
    for (const { continues, ...finding } of scan.findings) {
      const [last, end] = [findings.at(-1), offset + finding.end];
      if (continues && last) findings[findings.length - 1] = { ...last, end };
      else findings.push({ ...finding, start: offset + finding.start, end });
    }
    before = (before + pending.slice(0, scan.consumed)).slice(-1024);
    offset += scan.consumed;
    pending = pending.slice(scan.consumed);
    running = scan.running;
  }
  return findings;
}

const question = {
  ...{ requestId: "r-1", tenant: "acme", channel: "request", principal: "x" },
  texts: [{ id: "0", text: "a", before: "b", more: true, running: "token" }],
};
const event = {
  ...{ v: 1, id: "00000000-0000-0000-0000-000000000000", ts: "2026-11-21T08:00:00.000Z", service: "gateway" },
  ...{ type: "chat.request", requestId: "r", tenant: "t", status: 200, stream: true, findings: { email: 1 } },
  ...{ promptHmac: "ab".repeat(32) },
};
const predecessor = {
  schemaVersion: 1,
  epoch: 2,
  origin: "site.example/log",
  size: 7,
  root: Buffer.alloc(32, 1).toString("base64"),
};

const MAGIC = Buffer.from("sealift audit segment 1\n");
const sha256 = (...parts: readonly Uint8Array[]): Buffer => createHash("sha256").update(Buffer.concat(parts)).digest();
const uint64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

/** A segment of frames with these bodies and the hashes that its writer would give them. */
function sealedSegment(bodies: readonly Buffer[]): Buffer {
  const name = Buffer.alloc(16, 7);
  const header = Buffer.concat([MAGIC, name, uint64(3)]);
  const pages = bodies.map((body, i) => {
    const fields = Buffer.concat([Buffer.from("SLFR"), Buffer.alloc(4), uint64(3 + i)]);
    fields.writeUInt32BE(body.length, 4);
    const frame = Buffer.concat([fields, sha256(name, fields, body), body]);
    return Buffer.concat([frame, Buffer.alloc((PAGE_BYTES - (frame.length % PAGE_BYTES)) % PAGE_BYTES)]);
  });
  const first = Buffer.concat([header, sha256(header)]);
  return Buffer.concat([first, Buffer.alloc(PAGE_BYTES - first.length), ...pages]);
}

const UNSYNCED: LogDisk = { ...hostDisk, sync: async () => {} };
const key = createSecretKey(Buffer.alloc(32, 1));
const NOW = Date.parse("2026-11-21T08:00:00.000Z");
const signer = new PrincipalSigner("pii", key, () => NOW);
const verifier = new PrincipalVerifier("pii", [key], () => NOW);
const TOKEN = signer.sign(principal, "id");
const [HEADER = "", CLAIMS = ""] = TOKEN.split(".");

/** A token with these claims, signed with the right key: so the fuzzer gets past that. */
function tokenOf(claims: Buffer): string {
  const signed = `${HEADER}.${claims.toString("base64url")}`;
  return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
}

export const serviceFuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  "chat request": {
    seeds: [seed(chat), seed({ model: "a/b:c", messages: [{ role: "tool", content: "", tool_call_id: "x" }] })],
    run: (data) => {
      const read = readChatRequest(data, LIMITS);
      if ("status" in read) return;
      // What the model gets is a request itself, and means the same.
      const again = readChatRequest(read.body(), LIMITS);
      assert.ok("body" in again, "a request for the model that is none");
      assert.deepEqual(again.body(), read.body());
      assert.deepEqual(
        again.texts.map((one) => one.text),
        read.texts.map((one) => one.text),
      );
    },
  },
  "model's answer": {
    isAsync: true,
    seeds: [seed(answer)],
    run: async (data) => {
      const bytes = await acceptedLater(() => inspectAnswer(data, context()), AnswerError);
      if (bytes) assert.deepEqual(await inspectAnswer(bytes, context()), bytes);
    },
  },
  "model's stream": {
    isAsync: true,
    seeds: [Buffer.from(stream)],
    run: async (data) => {
      // The pieces that it comes in are no matter, except that one in which the stream ends is UTF-8 to its own end.
      if (isUtf8(data)) assert.equal(await relayed(data, 7), await relayed(data, Math.max(1, data.length)));
    },
  },
  "order about tenants": {
    seeds: [
      { do: "list", tenant: null },
      { do: "tenant-add", tenant: "acme", models: ["m"] },
      { do: "key-add", tenant: "acme", holder: "h", prefix: "a".repeat(12), capabilities: ["chat"], days: 1 },
    ].map(seed),
    run: (data) => {
      const order = parseOrder(text(data));
      if (order) assert.deepEqual(parseOrder(JSON.stringify(order)), order);
    },
  },
  "API key": {
    seeds: [Buffer.from(`slk_${"a".repeat(12)}_${"A".repeat(43)}`)],
    run: (data) => {
      const proof = proveApiKey(text(data), "pepper");
      if (proof) assert.equal(data.length, 60);
    },
  },
  "scan request": {
    seeds: [seed(question), seed([question, question])],
    run: (data) => {
      const read = accepted(() => parseScanRequest(data), ScanRequestError);
      for (const { texts } of read?.questions ?? []) for (const { id, ...window } of texts) scanWindow(window);
    },
  },
  "text with personal data": {
    seeds: [
      "Write to ana@example.com or +44 20 7946 0958; card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00.",
      "SSN 123-45-6789, from 2001:db8::1 and 10.0.0.1:80; password = hunter2hunter2, passport L01X00T47",
      `-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END PRIVATE KEY----- ghp_${"a1".repeat(18)}`,
    ].map((one) => Buffer.from(one)),
    run: (data) => {
      const whole = text(data);
      const found = scanText(whole);
      let at = 0;
      for (const { start, end, score } of found) {
        assert.ok(at <= start && start < end && end <= whole.length && score >= 0.3 && score <= 0.99);
        at = end;
      }
      if (whole.length <= 2048) assert.deepEqual(foundInPieces(whole, 7), found);
    },
  },
  "policy for personal data": {
    seeds: [
      seed({
        default: { request: { email: { mode: "redact" }, "*": { mode: "flag", minScore: 0.5 } } },
        tenants: { acme: { response: { "payment-card": { mode: "strict" } } } },
      }),
    ],
    run: (data) => {
      const policy = accepted(() => parsePolicy(text(data)), SettingsError);
      for (const channel of ["request", "response"] as const) {
        for (const tenant of ["acme", "__proto__"]) {
          if (policy) assert.match(policy.rule(tenant, channel, "email").mode, /^(?:off|flag|redact|strict)$/);
        }
      }
    },
  },
  "audit event": {
    seeds: [seed(event), seed({ ...event, v: 2, later: { a: 1 } })],
    run: (data) => {
      const value = jsonIn(data);
      for (const service of ["gateway", "installer"]) {
        const checked = accepted(() => checkEvent(value, service), EventRefused);
        if (checked) assert.deepEqual(checked.entry, canonicalJson(jsonIn(checked.entry)));
      }
    },
  },
  "audit segment": {
    isAsync: true,
    seeds: [sealedSegment([encodeEntries([Buffer.from("a")])]), encodeEntries([Buffer.from("a"), Buffer.alloc(0)])],
    run: async (data) => {
      const path = join(fuzzDirectory(), "segment");
      for (const bytes of [data, sealedSegment([data]), sealedSegment([encodeEntries([Buffer.from("a")]), data])]) {
        writeFileSync(path, bytes);
        const read = await acceptedLater(() => readSegment(UNSYNCED, path), SegmentDamagedError);
        assert.ok((read?.entries ?? []).every((entry) => entry.length <= data.length + 1));
      }
    },
  },
  "audit log's predecessor": {
    seeds: [seed(predecessor)],
    run: (data) => {
      const read = accepted(() => parsePredecessor(data), CheckpointError);
      if (read) assert.ok(jsonIn(epochEntry(read, new Date(NOW))) !== undefined);
    },
  },
  "principal of a request": {
    seeds: [Buffer.from(TOKEN), Buffer.from(CLAIMS, "base64url")],
    run: (data) => {
      const token = text(data);
      const verified = accepted(() => verifier.verify(token, "gateway"), PrincipalRefused);
      if (verified) assert.equal(token, TOKEN);
      accepted(() => verifier.verify(tokenOf(data), "gateway"), PrincipalRefused);
    },
  },
  "identity of a service": {
    seeds: [readFileSync(testIdentities(fuzzDirectory()).path("gateway"))],
    run: (data) => {
      accepted(() => Identity.of("gateway", data.toString("latin1")), SettingsError);
    },
  },
};
