import assert from "node:assert/strict";
import test from "node:test";
import type { Inspection } from "../../../../compose/services/gateway/src/inspector.ts";
import { piiInspector } from "../../../../compose/services/gateway/src/pii-inspector.ts";

interface Body {
  readonly tenant: string;
  readonly channel: string;
  readonly texts: readonly { readonly id: string; readonly text: string }[];
}

/** Denies `deny`, replaces `redact`, and like the service gives no text back when it denies anything. */
function service() {
  const bodies: Body[] = [];
  const post = async (path: string, given: unknown) => {
    assert.equal(path, "/v1/scan");
    const body = given as Body;
    bodies.push(body);
    await new Promise((resolve) => setTimeout(resolve, 5));
    const isDenied = body.texts.some(({ text }) => text === "deny");
    return {
      decision: isDenied ? "deny" : "allow",
      policy: "p",
      texts: body.texts.map(({ id, text }) => ({
        id,
        decision: text === "deny" ? "deny" : text === "redact" ? "redact" : "allow",
        counts: text === "allow" ? {} : { thing: 1 },
        consumed: text.length,
        ...(text === "redact" && !isDenied && { text: "[X]" }),
      })),
    };
  };
  return { bodies, inspector: piiInspector({ post }) };
}

function question(tenant: string, ...texts: readonly string[]) {
  return { requestId: "r", tenant, channel: "request" as const, texts: texts.map((text) => ({ text })) };
}

test("questions of one tenant go together, those of two never", async () => {
  const { bodies, inspector } = service();
  const asked = Array.from({ length: 20 }, (_, index) =>
    inspector.inspect(question(index % 2 ? "a" : "b", `${index}`, "x")),
  );
  const answers = await Promise.all(asked);
  assert.ok(bodies.length <= 4, `${bodies.length} requests`);
  for (const { tenant, texts } of bodies) {
    for (const { text } of texts) if (text !== "x") assert.equal(Number(text) % 2 ? "a" : "b", tenant);
    assert.deepEqual(
      texts.map(({ id }) => id),
      texts.map((_, index) => String(index)),
    );
  }
  for (const { texts } of answers) assert.equal(texts.length, 2);
});

test("each question gets its own answer, also beside one that is denied", async () => {
  const { inspector } = service();
  const answers = await Promise.all(
    [["allow"], ["redact", "allow"], ["deny"], ["allow", "redact"]].map((texts) =>
      inspector.inspect(question("a", ...texts)),
    ),
  );
  const [allowed, first, denied, last] = answers as [Inspection, Inspection, Inspection, Inspection];
  assert.deepEqual(
    answers.map(({ decision }) => decision),
    ["allow", "redact", "deny", "redact"],
  );
  assert.deepEqual([allowed.findings, first.findings, denied.policy], [{}, { thing: 1 }, "p"]);
  assert.deepEqual([first.texts[0]?.text, first.texts[1]?.text, last.texts[1]?.text], ["[X]", undefined, "[X]"]);
});

test("a question that is large by itself still goes, and alone", async () => {
  const { bodies, inspector } = service();
  const large = "x".repeat(600_000);
  await Promise.all([
    inspector.inspect(question("a", "1")),
    ...[large, large, "2"].map((text) => inspector.inspect(question("a", text))),
  ]);
  for (const { texts } of bodies) {
    assert.ok(texts.length === 1 || texts.every(({ text }) => text !== large) || texts.length === 2);
  }
  assert.ok(bodies.filter(({ texts }) => texts.some(({ text }) => text === large)).length === 2);
});

test("what the service does not answer as it should, nobody takes for an answer", async () => {
  const short = piiInspector({ post: async () => ({ decision: "allow", policy: "p", texts: [] }) });
  await assert.rejects(short.inspect(question("a", "x")));
  const away = piiInspector({ post: () => Promise.reject(new Error("away")) });
  await assert.rejects(Promise.all([away.inspect(question("a", "x")), away.inspect(question("a", "y"))]));
  const odd = piiInspector({ post: async () => ({ nothing: true }) });
  await assert.rejects(odd.inspect(question("a", "x")));
});
