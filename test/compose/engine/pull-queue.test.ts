import assert from "node:assert/strict";
import { it } from "node:test";
import { digestOf } from "../../../bundles/model/digest.ts";
import { pullQueue } from "../../../compose/engine/load-images.ts";

const MB = 1024 * 1024;

function image(name: string, ...layers: readonly (readonly [string, number])[]) {
  return { name, layers: layers.map(([text, size]) => ({ mediaType: "", digest: digestOf(Buffer.from(text)), size })) };
}

function queue(...images: readonly ReturnType<typeof image>[]): string[][] {
  return pullQueue(images).map((chain) => chain.map(({ name }) => name));
}

it("the largest image is pulled first", () => {
  assert.deepEqual(queue(image("small", ["a", MB]), image("large", ["b", 20 * MB])), [["large"], ["small"]]);
});

it("images that share a large layer are pulled one after the other, all others beside them", () => {
  const runtime = ["runtime", 40 * MB] as const;
  const got = queue(
    image("gateway", runtime, ["g", 2]),
    image("postgres", ["p", 30 * MB]),
    image("audit", runtime, ["a", 1]),
    image("pii", runtime, ["i", 3]),
  );
  assert.deepEqual(got, [["pii", "gateway", "audit"], ["postgres"]]);
});

it("a small layer that images share keeps none of them back", () => {
  const base = ["base", 2 * MB] as const;
  assert.deepEqual(queue(image("front", base, ["f", 6 * MB]), image("postgres", base, ["p", 30 * MB])), [
    ["postgres"],
    ["front"],
  ]);
});

it("an image that shares a layer with each of two joins them", () => {
  const [a, b] = [["a", 10 * MB] as const, ["b", 9 * MB] as const];
  assert.deepEqual(queue(image("one", a, ["x", 50 * MB]), image("two", b, ["y", 40 * MB]), image("both", a, b)), [
    ["one", "two", "both"],
  ]);
});

it("a large layer that the engine has keeps none of them back", () => {
  const runtime = ["runtime", 40 * MB] as const;
  const images = [image("gateway", runtime, ["g", 2]), image("pii", runtime, ["i", 1])];
  assert.equal(pullQueue(images).length, 1);
  assert.equal(pullQueue(images, new Set([digestOf(Buffer.from("runtime"))])).length, 2);
});
