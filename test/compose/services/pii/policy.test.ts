import assert from "node:assert/strict";
import test from "node:test";
import { NATIONAL_IDS, PII_CLASSES } from "../../../../compose/services/pii/src/classes.ts";
import { decide, judge, redact } from "../../../../compose/services/pii/src/judge.ts";
import { BUILT_IN_POLICY, parsePolicy } from "../../../../compose/services/pii/src/policy.ts";
import { scanText } from "../../../../compose/services/pii/src/scan.ts";
import { SettingsError } from "../../../../compose/services/service-kit/src/settings.ts";

const parse = (document: unknown) => parsePolicy(JSON.stringify(document));

test("the first of five rules holds", () => {
  const policy = parse({
    default: { request: { email: { mode: "redact" }, "*": { mode: "off" } } },
    tenants: { acme: { request: { phone: { mode: "strict" }, "*": { mode: "flag", minScore: 0.6 } } } },
  });
  assert.deepEqual(policy.rule("acme", "request", "phone"), { mode: "strict", minScore: 0.8 }, "tenant's class");
  assert.deepEqual(policy.rule("acme", "request", "email"), { mode: "flag", minScore: 0.6 }, "tenant's *");
  assert.deepEqual(policy.rule("other", "request", "email"), { mode: "redact", minScore: 0.8 }, "default's class");
  assert.deepEqual(policy.rule("other", "request", "secret"), { mode: "off", minScore: 0.8 }, "default's *");
  assert.equal(policy.rule("other", "response", "payment-card").mode, "redact", "built-in");
  assert.equal(policy.rule("__proto__", "request", "email").mode, "redact", "no tenant by a name that objects have");
});

test("by itself blocks harmful classes in requests, redacts them in responses and flags the rest", () => {
  const harmful = new Set<string>(["payment-card", "secret", ...NATIONAL_IDS]);
  for (const piiClass of PII_CLASSES) {
    const modes = (["request", "response"] as const).map(
      (channel) => BUILT_IN_POLICY.rule("t", channel, piiClass).mode,
    );
    assert.deepEqual(modes, harmful.has(piiClass) ? ["strict", "redact"] : ["flag", "flag"], piiClass);
  }
});

test("tells every place that is wrong and takes nothing that it does not know", () => {
  const wrong: [unknown, RegExp][] = [
    [{ version: 2 }, /policy: unknown member "version"/],
    [{ defualt: {} }, /policy: unknown member "defualt"/],
    [{ default: [] }, /policy\.default: want an object/],
    [{ default: { log: {} } }, /policy\.default: unknown member "log"/],
    [{ default: { request: { emial: { mode: "off" } } } }, /unknown member "emial"/],
    [{ default: { request: { email: { mode: "none" } } } }, /\["email"\]\.mode: want one of off, flag/],
    [{ default: { request: { email: { mode: "flag", minScore: 2 } } } }, /minScore: want a number from 0 to 1/],
    [{ default: { request: { email: { mode: "flag", min: 1 } } } }, /unknown member "min"/],
    [{ tenants: { "a b": {} } }, /policy\.tenants\["a b"\]: want 1 to 64/],
    [null, /policy: want an object/],
  ];
  for (const [document, message] of wrong) {
    assert.throws(
      () => parse(document),
      (cause) => cause instanceof SettingsError && message.test(cause.message),
    );
  }
  assert.throws(() => parsePolicy("{"), /policy: not JSON/);
  assert.throws(() => parsePolicy(" ".repeat(1024 * 1024 + 1)), /larger than 1 MiB/);
  assert.throws(() => parse({ version: 2, default: { log: {} } }), /version.*log/);
});

test("each mode does what it says: off, flag, redact, strict", () => {
  const text = "me@example.com or 4111 1111 1111 1111!";
  const under = (mode: string) => {
    const policy = parse({ default: { request: { "*": { mode } } } });
    const findings = judge(scanText(text), policy, "t", "request");
    return [decide(findings), findings.length, redact(text, text.length, findings)];
  };
  assert.deepEqual(under("off"), ["allow", 0, text]);
  assert.deepEqual(under("flag"), ["allow", 2, text]);
  assert.deepEqual(under("redact"), ["redact", 2, "[EMAIL] or [PAYMENT_CARD]!"]);
  assert.equal(under("strict")[0], "deny");
});

test("a finding below the rule's score does not count; one too weak to block or redact for is flagged", () => {
  const actions = (mode: string, minScore: number, text: string) => {
    const policy = parse({ default: { request: { phone: { mode, minScore } } } });
    return judge(scanText(text), policy, "t", "request").map(({ action }) => action);
  };
  assert.deepEqual(actions("flag", 0.9, "+44 20 7946 0958"), []);
  assert.deepEqual(actions("flag", 0.9, "phone +44 20 7946 0958"), ["flag"]);
  assert.deepEqual(actions("strict", 0.9, "+44 20 7946 0958"), ["flag"]);
  assert.deepEqual(actions("strict", 0.9, "phone +44 20 7946 0958"), ["deny"]);
  assert.deepEqual(actions("redact", 0.9, "+44 20 7946 0958"), ["flag"]);
  assert.deepEqual(actions("redact", 0.9, "12 3456 78"), [], "below what is flagged");
  assert.deepEqual(actions("off", 0, "phone +44 20 7946 0958"), []);
});
