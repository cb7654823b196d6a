/** The appliance's own configuration: what an operator may set is what its services take. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { parse } from "yaml";
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import type { ComposeTemplate } from "../../bundles/model/compose-template.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { renderSite } from "../../compose/render.ts";
import { readSettings as readGateway } from "../../compose/services/gateway/src/settings.ts";
import { PII_CLASSES } from "../../compose/services/pii/src/classes.ts";
import { MODES, parsePolicy } from "../../compose/services/pii/src/policy.ts";
import { readSettings as readPii } from "../../compose/services/pii/src/settings.ts";
import { type Config, completeConfig, configMembers, memberProblem } from "../../installer/site/config.ts";
import { coded } from "../support/test-trust.ts";

const at = (name: string): string => readFileSync(new URL(`../../compose/${name}`, import.meta.url), "utf8");
const schema = JSON.parse(at("config.schema.json")) as JsonSchema;
const template = parse(at("compose.yaml")) as ComposeTemplate;

/** What the containers of a site with this configuration get as environment. */
function environments(given: Config): Readonly<Record<string, Record<string, string>>> {
  const { colour } = renderSite({
    template,
    appliance: "sealift-gateway",
    version: "1.2.3",
    release: "sha256:0" as never,
    siteId: "0".repeat(32),
    colour: "blue",
    secretsDirectory: "/secrets",
    switchDirectory: "/switch",
    files: { "test-model": "/model" },
    config: completeConfig(schema, given),
  });
  const { services } = JSON.parse(colour.bytes.toString()) as {
    readonly services: Readonly<Record<string, { readonly environment?: Record<string, string> }>>;
  };
  // Compose makes one dollar of two.
  const plain = (env: Record<string, string> = {}): Record<string, string> =>
    Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.replaceAll("$$", "$")]));
  return Object.fromEntries(Object.entries(services).map(([name, { environment }]) => [name, plain(environment)]));
}

test("a site that sets nothing has the services' own defaults", () => {
  const { gateway = {}, pii = {} } = environments({});
  const limits = readGateway(gateway).api?.limits;
  const { REQUESTS_PER_MINUTE, REQUESTS_AT_ONCE, TOKENS_MAX, MESSAGES_MAX, BODY_MAX_BYTES, ...rest } = gateway;
  assert.ok(limits && [REQUESTS_PER_MINUTE, REQUESTS_AT_ONCE, TOKENS_MAX, MESSAGES_MAX, BODY_MAX_BYTES].every(Boolean));
  assert.deepEqual(limits, readGateway(rest).api?.limits);
  const policy = parsePolicy(readPii(pii).policy ?? assert.fail());
  assert.equal(policy.rule("default", "request", "payment-card").mode, "strict");
});

test("what is set reaches the services, and the least and the most of it is what they take", () => {
  const names = ["requestsPerMinute", "requestsAtOnce", "tokensMax", "messagesMax", "bodyMaxBytes"] as const;
  const properties = schema["properties"] as Readonly<Record<string, { minimum: number; maximum: number }>>;
  for (const bound of ["minimum", "maximum"] as const) {
    const given = Object.fromEntries(names.map((name) => [name, properties[name]?.[bound]]));
    const { gateway = {} } = environments(given);
    assert.deepEqual({ ...readGateway(gateway).api?.limits }, given);
  }
  for (const leastTls of ["TLSv1.2", "TLSv1.3"]) {
    assert.equal(readGateway(environments({ leastTls })["gateway"] ?? {}).leastTls, leastTls);
  }
  const piiPolicy = { tenants: { acme: { request: { "*": { mode: "redact", minScore: 0.9 } } } } };
  const policy = parsePolicy(readPii(environments({ piiPolicy })["pii"] ?? {}).policy ?? "");
  assert.deepEqual(policy.rule("acme", "request", "email"), { mode: "redact", minScore: 0.9 });
  assert.equal(policy.rule("other", "request", "email").mode, "flag");
});

test("the schema knows every class and mode of personal data, and no other", () => {
  for (const piiClass of [...PII_CLASSES, "*"]) {
    for (const mode of MODES) {
      const piiPolicy = { default: { response: { [piiClass]: { mode } } } };
      parsePolicy(JSON.stringify(completeConfig(schema, { piiPolicy })["piiPolicy"]));
    }
  }
});

test("what no service would take is refused before anything is planned", () => {
  const wrong: readonly Config[] = [
    { leastTls: "TLSv1.1" },
    { requestsPerMinute: 0 },
    { requestsAtOnce: 513 },
    { tokensMax: "many" },
    { bodyMaxBytes: 1e9 },
    { piiPolicy: { defualt: {} } },
    { piiPolicy: { default: { log: {} } } },
    { piiPolicy: { default: { request: { emial: { mode: "off" } } } } },
    { piiPolicy: { default: { request: { email: { mode: "none" } } } } },
    { piiPolicy: { default: { request: { email: { minScore: 1 } } } } },
    { piiPolicy: { default: { request: { email: { mode: "flag", minScore: 2 } } } } },
    { piiPolicy: { tenants: { "A b": {} } } },
    { piiPolicy: [] },
  ];
  for (const given of wrong) {
    assert.throws(() => completeConfig(schema, given), coded("CONFIG_MALFORMED"), JSON.stringify(given));
  }
});

test("a configuration that no plan can show is refused", () => {
  const rules = Object.fromEntries(PII_CLASSES.map((piiClass) => [piiClass, { mode: "redact" }]));
  const tenants = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`tenant-${i}`, { request: rules }]));
  const given = { piiPolicy: { tenants } };
  assert.throws(() => completeConfig(schema, given), coded("CONFIG_MALFORMED"));
});

test("the wizard asks what differs from site to site, in the schema's own order, after the release stored it", () => {
  const stored = parseCanonicalJson(canonicalJson(schema)) as JsonSchema;
  const asked = (of: JsonSchema): string[] => configMembers(of).flatMap(({ name, asked }) => (asked ? [name] : []));
  assert.deepEqual(asked(stored), ["clientAddress", "clientPort", "publicNames"]);
  assert.equal(configMembers(stored).length, Object.keys(schema["properties"] as object).length);
  assert.deepEqual(configMembers(stored)[0]?.name, "clientAddress");
  const needed = { properties: { b: { default: 1 }, c: {}, a: { default: 2 } }, "x-ask": ["b", "gone"] };
  assert.deepEqual(
    configMembers(needed).map(({ name, asked }) => [name, asked]),
    [
      ["b", true],
      ["a", false],
      ["c", true],
    ],
  );
});

test("one answer of the wizard is judged by the whole schema's words", () => {
  const member = configMembers(schema).find(({ name }) => name === "piiPolicy") ?? assert.fail();
  assert.equal(memberProblem(member, { default: { request: { "*": { mode: "off" } } } }), undefined);
  assert.match(memberProblem(member, { default: { request: { "*": { mode: "on" } } } }) ?? "", /allowed values/);
});
