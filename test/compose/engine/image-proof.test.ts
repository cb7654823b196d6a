import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Digest, digestOf } from "../../../bundles/model/digest.ts";
import { type ExpectedImage, imageDifferences } from "../../../compose/engine/image-proof.ts";
import { diskFull, pullError } from "../../../compose/engine/load-images.ts";

const layer = digestOf("layer");
const expected: ExpectedImage = {
  reference: `127.83.76.1:5000/demo/gateway@${digestOf("manifest")}`,
  manifestDigest: digestOf("manifest"),
  configDigest: digestOf("config"),
  config: {
    architecture: "amd64",
    os: "linux",
    config: { User: "10001:10001", Env: ["PATH=/usr/bin"], Entrypoint: ["/usr/bin/node"] },
    rootfs: { type: "layers", diff_ids: [layer] },
  },
};

function inspected(id: Digest): Record<string, unknown> {
  return {
    Id: id,
    RepoDigests: [expected.reference],
    Architecture: "amd64",
    Os: "linux",
    RootFS: { Type: "layers", Layers: [layer] },
    Config: { User: "10001:10001", Env: ["PATH=/usr/bin"], Entrypoint: ["/usr/bin/node"], Cmd: null, WorkingDir: "" },
  };
}

describe("the proof of an image", () => {
  it("knows it by its configuration on the classic store and by its manifest on containerd's", () => {
    assert.deepEqual(imageDifferences(expected, inspected(digestOf("config")), "classic"), []);
    assert.deepEqual(imageDifferences(expected, inspected(digestOf("manifest")), "containerd"), []);
    assert.match(imageDifferences(expected, inspected(digestOf("config")), "containerd").join(), /^Id: /);
    assert.match(imageDifferences(expected, inspected(digestOf("manifest")), "classic").join(), /^Id: /);
  });

  const changes: readonly (readonly [string, Record<string, unknown>])[] = [
    ["RepoDigests", { RepoDigests: [] }],
    ["layers", { RootFS: { Layers: [layer, layer] } }],
    ["architecture", { Architecture: "arm64" }],
    ["system", { Os: "windows" }],
    ["User", { Config: { Env: ["PATH=/usr/bin"], Entrypoint: ["/usr/bin/node"] } }],
    ["Env", { Config: { User: "10001:10001", Env: ["PATH=/tmp"], Entrypoint: ["/usr/bin/node"] } }],
    ["Cmd", { Config: { ...(inspected(layer)["Config"] as object), Cmd: ["sh"] } }],
  ];
  for (const [what, change] of changes) {
    it(`finds another ${what}`, () => {
      const found = imageDifferences(expected, { ...inspected(digestOf("config")), ...change }, "classic");
      assert.equal(found.length, 1);
      assert.ok(found.join().startsWith(`${what}: `), found.join());
    });
  }

  it("finds everything wrong with an answer that is none", () => {
    assert.ok(imageDifferences(expected, null, "classic").length >= 5);
  });
});

describe("the events of a pull", () => {
  it("hold the error that the status of the answer does not", () => {
    assert.equal(pullError([{ status: "Downloading" }, { error: "unexpected EOF" }]), "unexpected EOF");
    assert.equal(pullError([{ status: "Pull complete" }]), undefined);
    assert.ok(diskFull("write /var/lib/docker/tmp/x: no space left on device"));
    assert.ok(!diskFull("unexpected EOF"));
  });
});
