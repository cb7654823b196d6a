import assert from "node:assert/strict";
import test from "node:test";
import { parseOrder } from "../../compose/services/gateway/src/database/administration.ts";
import { CAPABILITIES as SERVED } from "../../compose/services/gateway/src/database/api-key.ts";
import type { DeployContext } from "../../installer/lifecycle/deploy-context.ts";
import {
  CAPABILITIES,
  isDone,
  judge,
  type TenantList,
  type TenantWish,
  tenantsKind,
} from "../../installer/lifecycle/tenants.ts";
import { coded } from "../support/test-trust.ts";

const KEY = {
  prefix: "abcdefghij23",
  id: "00000000-0000-4000-8000-000000000001",
  holderId: "00000000-0000-4000-8000-000000000002",
  tenant: "acme",
  holder: "robot",
  capabilities: ["chat"],
  created: "2026-11-01T00:00:00.000Z",
  expires: "2027-01-30T00:00:00.000Z",
  revoked: null,
  lastUsed: null,
};
const LIST: TenantList = {
  models: ["large", "small"],
  tenants: [
    {
      id: "00000000-0000-4000-8000-000000000003",
      name: "acme",
      active: true,
      created: KEY.created,
      models: ["ancient", "small"],
    },
    { id: "00000000-0000-4000-8000-000000000004", name: "gone", active: false, created: KEY.created, models: [] },
  ],
  keys: [KEY, { ...KEY, prefix: "zzzzzzzzzzzz", revoked: KEY.expires }],
};
const NEW_KEY: TenantWish = { do: "key-add", tenant: "acme", holder: "robot", capabilities: ["chat"], days: 30 };

test("a wish that can be done becomes an order that the appliance takes", () => {
  const wishes: readonly TenantWish[] = [
    { do: "tenant-add", tenant: "new", models: null },
    { do: "tenant-models", tenant: "acme", models: ["ancient", "large"] },
    { do: "tenant-active", tenant: "gone", active: true },
    NEW_KEY,
    { do: "key-revoke", prefix: KEY.prefix },
  ];
  for (const wish of wishes) {
    const order = judge(LIST, wish);
    assert.deepEqual(parseOrder(JSON.stringify(order)), order);
    assert.equal(isDone(LIST, order), false, JSON.stringify(order));
  }
  assert.deepEqual(judge(LIST, wishes[0] as TenantWish), { do: "tenant-add", tenant: "new", models: LIST.models });
  const [one, other] = [judge(LIST, NEW_KEY), judge(LIST, NEW_KEY)];
  assert.ok(one.do === "key-add" && other.do === "key-add" && one.prefix !== other.prefix);
  assert.deepEqual([...CAPABILITIES], [...SERVED]);
});

test("a wish that cannot be done is refused before anybody signs", () => {
  const refused: readonly (readonly [string, TenantWish])[] = [
    ["TENANT_EXISTS", { do: "tenant-add", tenant: "acme", models: null }],
    ["MODEL_UNKNOWN", { do: "tenant-add", tenant: "new", models: ["ancient"] }],
    ["MODEL_UNKNOWN", { do: "tenant-models", tenant: "acme", models: ["smal"] }],
    ["TENANT_UNKNOWN", { do: "tenant-models", tenant: "acm", models: [] }],
    ["TENANT_UNKNOWN", { do: "tenant-active", tenant: "new", active: false }],
    ["TENANT_UNKNOWN", { ...NEW_KEY, tenant: "new" }],
    ["TENANT_UNCHANGED", { do: "tenant-models", tenant: "acme", models: ["small", "ancient", "small"] }],
    ["TENANT_UNCHANGED", { do: "tenant-active", tenant: "gone", active: false }],
    ["TENANT_UNCHANGED", { do: "key-revoke", prefix: "zzzzzzzzzzzz" }],
    ["API_KEY_UNKNOWN", { do: "key-revoke", prefix: "yyyyyyyyyyyy" }],
  ];
  for (const [code, wish] of refused) assert.throws(() => judge(LIST, wish), coded(code), JSON.stringify(wish));
});

test("after a crash it is seen whether an order was done", () => {
  const acme = { do: "tenant-add", tenant: "acme", models: ["ancient", "small"] } as const;
  assert.equal(isDone(LIST, acme), true);
  assert.equal(isDone(LIST, { ...acme, models: ["small"] }), false, "another tenant of this name");
  assert.equal(isDone(LIST, { ...acme, do: "tenant-models", models: ["ancient", "small"] }), true);
  assert.equal(isDone(LIST, { do: "tenant-active", tenant: "gone", active: false }), true);
  assert.equal(isDone(LIST, { do: "key-revoke", prefix: "zzzzzzzzzzzz" }), true);
  assert.equal(isDone(LIST, { do: "tenant-active", tenant: "nobody", active: false }), false);
});

test("a journal with an order that is none is damaged", () => {
  for (const order of [{}, { do: "list", tenant: null }, { do: "key-revoke", prefix: "' OR 1=1 --" }]) {
    assert.throws(() => tenantsKind.steps({} as DeployContext, { at: {}, order }), coded("JOURNAL_DAMAGED"));
  }
});

test("the appliance takes no order with a member more or less, or of another shape", () => {
  const key = { do: "key-add", tenant: "a", holder: "b", prefix: KEY.prefix, capabilities: ["chat"], days: 1 };
  assert.ok(parseOrder(JSON.stringify(key)));
  const wrong: readonly unknown[] = [
    null,
    [],
    { do: "drop" },
    { ...key, days: 0 },
    { ...key, days: 3651 },
    { ...key, days: "1" },
    { ...key, capabilities: [] },
    { ...key, capabilities: ["admin"] },
    { ...key, prefix: "ABCDEFGHIJ23" },
    { ...key, tenant: "A" },
    { ...key, holder: "-x" },
    { ...key, more: 1 },
    { do: "list" },
    { do: "list", tenant: "" },
    { do: "tenant-add", tenant: "a", models: null },
    { do: "tenant-models", tenant: "a", models: [1] },
    { do: "tenant-active", tenant: "a", active: 1 },
    { do: "key-revoke", prefix: "" },
  ];
  for (const order of wrong) assert.equal(parseOrder(JSON.stringify(order)), undefined, JSON.stringify(order));
  assert.equal(parseOrder("{"), undefined);
});
