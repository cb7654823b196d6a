import assert from "node:assert/strict";
import test from "node:test";
import type { Inspection } from "../../../../compose/services/gateway/src/inspector.ts";
import { piiInspector } from "../../../../compose/services/gateway/src/pii-inspector.ts";
import { PeerError } from "../../../../compose/services/service-kit/src/peer-client.ts";
import { PrincipalVerifier } from "../../../../compose/services/service-kit/src/principal.ts";
import { PRINCIPAL, principalKey, testSigner } from "../../../support/test-principals.ts";

interface Asked {
  readonly requestId: string;
  readonly principal: string;
  readonly tenant: string;
  readonly channel: string;
  readonly texts: readonly { readonly id: string; readonly text: string }[];
}

const SIGNER = testSigner("pii");

/** Denies `deny`, replaces `redact`, and like the service gives no text back of a question that it denies. */
function service(refuses: (asked: readonly Asked[]) => boolean = () => false) {
  const requests: (readonly Asked[])[] = [];
  const post = async (path: string, given: unknown) => {
    assert.equal(path, "/v1/scan");
    const asked = given as readonly Asked[];
    requests.push(asked);
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (refuses(asked)) throw new PeerError("PEER_REFUSED", 400);
    return asked.map(({ texts }) => {
      const isDenied = texts.some(({ text }) => text === "deny");
      const isRedacted = texts.some(({ text }) => text === "redact");
      return {
        decision: isDenied ? "deny" : isRedacted ? "redact" : "allow",
        policy: "p",
        texts: texts.map(({ id, text }) => ({
          id,
          counts: text === "allow" ? {} : { thing: 1 },
          consumed: text.length,
          ...(text === "redact" && !isDenied && { text: "[X]" }),
        })),
      };
    });
  };
  return { requests, inspector: piiInspector({ post }, SIGNER) };
}

function question(tenant: string, ...texts: readonly string[]) {
  const principal = { ...PRINCIPAL, tenantName: tenant };
  return { principal, channel: "request" as const, texts: texts.map((text) => ({ text })) };
}

test("questions go together, each with its own tenant and channel", async () => {
  const { requests, inspector } = service();
  const asked = Array.from({ length: 20 }, (_, index) => {
    const channel = index % 3 ? "request" : "response";
    return inspector.inspect({ ...question(index % 2 ? "a" : "b", `${index}`, "x"), channel });
  });
  const answers = await Promise.all(asked);
  assert.ok(requests.length <= 2, `${requests.length} requests`);
  const questions = requests.flat();
  assert.equal(questions.length, 20);
  for (const { tenant, channel, texts } of questions) {
    const index = Number(texts[0]?.text);
    assert.equal(tenant, index % 2 ? "a" : "b");
    assert.equal(channel, index % 3 ? "request" : "response");
    assert.deepEqual(
      texts.map(({ id }) => id),
      ["0", "1"],
    );
  }
  for (const { texts } of answers) assert.equal(texts.length, 2);
});

test("a question that the service refuses takes no other with it", async () => {
  const { inspector } = service((asked) => asked.some(({ texts }) => texts.some(({ text }) => text === "bad")));
  const answers = await Promise.allSettled(["1", "bad", "2"].map((text) => inspector.inspect(question("a", text))));
  assert.deepEqual(
    answers.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
});

test("each question has a principal of its own, a new one each time it is asked", async () => {
  const { requests, inspector } = service((asked) => asked.length > 1);
  await Promise.all(["1", "2", "3"].map((text) => inspector.inspect(question("a", text))));
  const verifier = new PrincipalVerifier("pii", [principalKey("pii")]);
  const principals = requests.flat().map(({ requestId, tenant, principal }) => {
    const { id, issuedAt: _, ...signed } = verifier.verify(principal, "gateway");
    assert.deepEqual(signed, { ...PRINCIPAL, requestId, tenantName: tenant });
    return id;
  });
  assert.equal(new Set(principals).size, 6);
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
  const { requests, inspector } = service();
  const large = "x".repeat(600_000);
  await Promise.all(["1", large, large, "2"].map((text) => inspector.inspect(question("a", text))));
  const withLarge = requests.filter((asked) => asked.some(({ texts }) => texts[0]?.text === large));
  assert.deepEqual(
    withLarge.map(({ length }) => length),
    [1, 1],
  );
});

test("what the service does not answer as it should, nobody takes for an answer", async () => {
  const answering = (answer: unknown) => piiInspector({ post: async () => answer }, SIGNER);
  const answer = { decision: "allow", policy: "p", texts: [] };
  for (const wrong of [[answer], [], [answer, answer], { nothing: true }, null, [{}], [null]]) {
    await assert.rejects(answering(wrong).inspect(question("a", "x")), JSON.stringify(wrong));
  }
  const away = piiInspector({ post: () => Promise.reject(new Error("away")) }, SIGNER);
  await assert.rejects(Promise.all([away.inspect(question("a", "x")), away.inspect(question("a", "y"))]));
});
