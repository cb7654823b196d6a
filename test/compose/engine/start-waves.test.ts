import assert from "node:assert/strict";
import { it } from "node:test";
import { type ComposeFile, servicesApart, startWaves } from "../../../compose/engine/start-waves.ts";

const HEALTHY = { condition: "service_healthy" };
const STARTED = { condition: "service_started" };

const FILE: ComposeFile = {
  services: {
    gateway: { networks: { db: {}, inner: {}, model: {} }, depends_on: { pii: HEALTHY, model: STARTED } },
    admin: { networks: { inner: {} }, depends_on: { gateway: HEALTHY } },
    pii: { networks: { inner: {} } },
    model: { networks: { model: {} } },
    migrate: { networks: { db: {} }, profiles: ["task"] },
  },
};

it("a service starts when those on whose health it depends can be healthy, and a task never", () => {
  assert.deepEqual(startWaves(FILE), [["pii", "model"], ["gateway"], ["admin"]]);
});

it("a service that only has to be started is started by Compose in the same go", () => {
  assert.deepEqual(startWaves({ services: { a: { depends_on: { b: STARTED } }, b: { depends_on: {} } } }), [
    ["a", "b"],
  ]);
});

it("some services come with all that they depend on, and with nothing else", () => {
  assert.deepEqual(startWaves(FILE, ["pii"]), [["pii"]]);
  assert.deepEqual(startWaves(FILE, ["gateway"]), [["pii", "model"], ["gateway"]]);
  assert.deepEqual(startWaves(FILE, ["migrate"]), []);
});

it("a circle, which Compose refuses, ends here too", () => {
  const file = { services: { a: { depends_on: { b: HEALTHY } }, b: { depends_on: { a: HEALTHY } } } };
  assert.deepEqual(new Set(startWaves(file).flat()), new Set(["a", "b"]));
});

it("apart from a network are those that are not on it and depend on none that is", () => {
  assert.deepEqual(servicesApart(FILE, ["db"]), ["pii", "model"]);
  assert.deepEqual(servicesApart(FILE, ["inner"]), ["model"]);
  assert.deepEqual(new Set(servicesApart(FILE, [])), new Set(["gateway", "admin", "pii", "model"]));
});

it("a service of which no network is known is apart from none", () => {
  assert.deepEqual(servicesApart({ services: { a: {} } }, ["db"]), []);
});
