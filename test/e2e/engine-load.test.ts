import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { open, writeFile } from "node:fs/promises";
import { createServer, connect as dial } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { blobName, closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { type Endpoint, serveLayout } from "../../bundles/layout/oci-endpoint.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { composeCall, connect, dockerCall, type ImageStore } from "../../compose/engine/engine.ts";
import { type LoadRun, loadImages } from "../../compose/engine/load-images.ts";
import { makeNonceImage } from "../../compose/engine/nonce-image.ts";
import { proveContainers } from "../../compose/engine/prove-containers.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { ENDPOINT_HOST, ENDPOINT_PORT } from "../../compose/image-reference.ts";
import { inOwnMachine, type OwnEngine, startOwnEngine } from "../support/own-engine.ts";
import { scratch } from "../support/scratch.ts";
import { bundleFiles, smallRelease, writeDirectory } from "../support/small-bundle.ts";

inOwnMachine(import.meta.url, "loads images into engines of both stores", () => {
  for (const store of ["classic", "containerd"] as const) suite(store);
});

function bigLayers(name: string): Record<string, string | Buffer>[] {
  return [{ "etc/os-release": "ID=debian\n" }, { [`app/${name}`]: randomBytes(6_000_000) }];
}

function suite(store: ImageStore): void {
  describe(`the ${store} store`, () => {
    const cleanups: (() => Promise<void>)[] = [];
    const context = { after: (work: () => Promise<void>) => void cleanups.unshift(work) };
    let dockerd: OwnEngine;
    before(async () => {
      const directory = await scratch(context);
      dockerd = await startOwnEngine(directory, { store });
      cleanups.unshift(() => dockerd.stop());
      assert.equal(dockerd.engine.facts.store, store);
    });
    after(async () => {
      for (const work of cleanups) await work();
    });

    async function bundle(version: string, gateway = bigLayers("gateway"), audit = bigLayers("audit")) {
      const small = smallRelease({
        version,
        images: [
          { name: "gateway", layers: gateway },
          { name: "audit", layers: audit },
        ],
      });
      const path = await scratch(context);
      await writeDirectory(path, bundleFiles(small));
      const { layout, store: files } = openLayout(path);
      cleanups.unshift(async () => closeStore(files));
      const release = readRelease(layout, readLayoutIndex(layout).release);
      return { path, small, layout, release };
    }

    async function load(made: Awaited<ReturnType<typeof bundle>>, run: LoadRun = {}) {
      return loadImages(dockerd.engine, made.layout, made.release, run);
    }

    const refusedWith = (code: string) => (error: unknown) => {
      assert.ok(error instanceof SealiftError, String(error));
      assert.equal(error.code, code, error.message);
      return true;
    };

    it("loads a release by digest, proves it, and is quick the second time", async () => {
      const made = await bundle("1.0.0");
      const details: string[] = [];
      const first = await load(made, { onProgress: (detail) => details.push(detail) });
      assert.deepEqual(
        first.map((image) => image.name),
        ["audit", "gateway"],
      );
      assert.ok(first.every((image) => !image.present));
      assert.match(details.at(-1) ?? "", /^12 of 12 MB$/);
      const docker = await connect(dockerd.engine);
      for (const image of first) {
        const inspected = await docker.getImage(image.reference).inspect();
        const entry = made.release.images.get(image.name);
        const id = store === "classic" ? entry?.manifest.config.digest : entry?.descriptor.digest;
        assert.equal(inspected.Id, id);
        assert.ok(inspected.RepoDigests.includes(image.reference));
        assert.ok(inspected.RepoTags.includes(image.protectiveTag));
      }
      const started = Date.now();
      const second = await load(made, {
        serve: () => assert.fail("nothing is missing, so nothing may be served"),
      });
      assert.ok(second.every((image) => image.present));
      assert.ok(Date.now() - started < 2000);
      const images = await docker.listImages({ digests: true });
      assert.ok(images.every((image) => !image.RepoDigests?.some((one) => one.includes("sealift-nonce"))));
    });

    it("keeps the images through `docker image prune -f`", async () => {
      const made = await bundle("1.0.1");
      const loaded = await load(made);
      const pruned = await runCall(dockerCall(dockerd.engine, ["image", "prune", "--force"]), { timeoutMs: 60_000 });
      assert.equal(pruned.status, 0, pruned.stderr);
      const docker = await connect(dockerd.engine);
      for (const image of loaded) assert.equal((await docker.getImage(image.reference).inspect()).Id, image.id);
    });

    it("fetches no layer that the engine has, also of an image that it does not have", async () => {
      const [gateway, audit] = [bigLayers("gateway"), bigLayers("audit")];
      await load(await bundle("1.0.2", gateway, audit));
      const next = await bundle("1.0.3", [...gateway, { "app/more": "x" }], audit);
      let served = 0;
      const serve = cuttingServe(Number.POSITIVE_INFINITY, 0, [], undefined, (bytes) => {
        served += bytes;
      });
      const loaded = await load(next, { serve });
      assert.deepEqual(
        loaded.map(({ name, present }) => [name, present]),
        [
          ["audit", true],
          ["gateway", false],
        ],
      );
      assert.ok(served > 0 && served < 1_000_000, `${served} bytes were served`);
    });

    it("goes on when the connection is cut in the middle of a layer", async () => {
      const cuts: number[] = [];
      const loaded = await load(await bundle("1.1.0"), { serve: cuttingServe(2_000_000, 1, cuts) });
      assert.equal(loaded.length, 2);
      assert.equal(cuts.length, 1);
    });

    it("ends with a code when it is cut off, and completes when it is run again", async () => {
      const made = await bundle("1.2.0");
      const stop = new AbortController();
      const serve = cuttingServe(1_000_000, Number.POSITIVE_INFINITY, [], () => stop.abort());
      await assert.rejects(load(made, { serve, signal: stop.signal }), { name: "AbortError" });
      const loaded = await load(made);
      assert.ok(loaded.every((image) => image.reference.includes("@sha256:")));
    });

    it("completes after the engine was killed in the middle of a pull", async () => {
      const made = await bundle("1.3.0");
      const cuts: number[] = [];
      const killing = cuttingServe(1_000_000, 1, cuts, () => void dockerd.kill());
      await assert.rejects(load(made, { serve: killing }), refusedWith("ENGINE_PULL_FAILED"));
      await dockerd.start();
      assert.equal((await load(made)).length, 2);
    });

    it("proves the containers that Compose made, and finds the one that somebody made otherwise", async () => {
      const { engine } = dockerd;
      const [image] = await load(await bundle("1.3.1"));
      assert.ok(image);
      const directory = await scratch(context);
      await writeFile(join(directory, "secret"), "x");
      const file = join(directory, "compose.json");
      const service = {
        image: image.reference,
        environment: { LEVEL: "info" },
        read_only: true,
        cap_drop: ["ALL"],
        security_opt: ["no-new-privileges:true"],
        tmpfs: ["/tmp:size=16m,mode=0700"],
        volumes: ["data:/data"],
        secrets: ["key"],
        networks: { core: { aliases: ["front"] } },
        mem_limit: "64m",
        pids_limit: 50,
        cpus: 0.5,
        logging: { driver: "local", options: { "max-size": "1m" } },
      };
      const rendered = {
        services: { one: service },
        networks: { core: { internal: true } },
        volumes: { data: {} },
        secrets: { key: { file: join(directory, "secret") } },
      };
      await writeFile(file, JSON.stringify(rendered));
      const project = { name: "proof", file, directory };
      const images = new Map([[image.reference, image]]);
      const create = async () => {
        const call = composeCall(engine, project, ["create", "--pull", "never", "--no-build", "--force-recreate"]);
        const { status, stderr } = await runCall(call, { timeoutMs: 60_000 });
        assert.equal(status, 0, stderr);
      };
      await create();
      try {
        await proveContainers(engine, project, images);
        // Made by another file than the one that the proof reads.
        await writeFile(
          file,
          JSON.stringify({ ...rendered, services: { one: { ...service, cap_add: ["NET_ADMIN"] } } }),
        );
        await create();
        await writeFile(file, JSON.stringify(rendered));
        await assert.rejects(proveContainers(engine, project, images), (error: unknown) => {
          assert.ok(error instanceof SealiftError);
          assert.equal(error.code, "ENGINE_CONTAINER_DIFFERS");
          assert.match(error.message, /cap_add: got \["NET_ADMIN"\], want \[\]/);
          return true;
        });
      } finally {
        const call = composeCall(engine, project, ["down", "--volumes"]);
        await runCall(call, { timeoutMs: 60_000 });
      }
    });

    it("refuses an endpoint that offers another run's nonce", async () => {
      const made = await bundle("1.4.0");
      const other = makeNonceImage(dockerd.engine.facts.architecture);
      const serve: typeof serveLayout = (layout, options) => serveLayout(layout, { ...options, extra: other.contents });
      await assert.rejects(load(made, { serve }), refusedWith("ENGINE_FOREIGN"));
    });

    it("refuses an engine whose loopback is another one", async () => {
      const made = await bundle("1.4.1");
      const directory = await scratch(context);
      const foreign = await startOwnEngine(directory, {
        store,
        isForeign: true,
        socketPath: join(directory, "d.sock"),
      });
      try {
        await assert.rejects(loadImages(foreign.engine, made.layout, made.release), refusedWith("ENGINE_FOREIGN"));
      } finally {
        await foreign.stop();
      }
    });

    it("says so when the engine's disk is full", async () => {
      const made = await bundle("1.4.2");
      const directory = await scratch(context);
      const small = await startOwnEngine(directory, {
        store,
        diskBytes: 9_000_000,
        socketPath: join(directory, "d.sock"),
      });
      try {
        await assert.rejects(loadImages(small.engine, made.layout, made.release), refusedWith("ENGINE_DISK_FULL"));
      } finally {
        await small.stop();
      }
    });

    it("refuses a port that another program holds", async () => {
      const made = await bundle("1.5.0");
      const squatter = createServer().listen(ENDPOINT_PORT, ENDPOINT_HOST);
      await new Promise((resolve) => squatter.once("listening", resolve));
      try {
        await assert.rejects(load(made), refusedWith("ENGINE_PORT_BUSY"));
      } finally {
        squatter.close();
      }
    });

    it("refuses a layer that changed after the bundle was verified, and loads nothing of it", async () => {
      const made = await bundle("1.6.0");
      const gateway = made.release.images.get("gateway");
      const layer = gateway?.manifest.layers[1];
      assert.ok(gateway && layer);
      const file = await open(join(made.path, blobName(layer.digest)), "r+");
      await file.write(Buffer.from([0xff, 0x00, 0xff]), 0, 3, 3_000_000);
      await file.close();
      await assert.rejects(load(made), refusedWith("ENGINE_BUNDLE_CHANGED"));
      const docker = await connect(dockerd.engine);
      const reference = `${ENDPOINT_HOST}:${ENDPOINT_PORT}/demo/gateway@${gateway.descriptor.digest}`;
      await assert.rejects(docker.getImage(reference).inspect(), { statusCode: 404 });
    });

    it("refuses a configuration that changed after the bundle was verified", async () => {
      const made = await bundle("1.7.0");
      const config = made.release.images.get("audit")?.manifest.config;
      assert.ok(config);
      const bytes = made.small.blobs.get(config.digest)?.toString("utf8").replace("10001:10001", "00000:00000") ?? "";
      await writeFile(join(made.path, blobName(config.digest)), bytes);
      await assert.rejects(load(made), refusedWith("LAYOUT_DIGEST_MISMATCH"));
    });
  });
}

/** Serves through a relay that breaks off the first `times` answers after `afterBytes`. */
function cuttingServe(
  afterBytes: number,
  times: number,
  cuts: number[],
  onCut = (): void => undefined,
  onBytes: (bytes: number) => void = () => undefined,
): typeof serveLayout {
  return async (layout, options) => {
    const inner = await serveLayout(layout, { ...options, host: "127.0.0.1", port: 0 });
    const [host = "", port = ""] = inner.address.split(":");
    const relay = createServer((client) => {
      const server = dial(Number(port), host);
      let seen = 0;
      client.pipe(server);
      server.on("data", (chunk) => {
        seen += chunk.length;
        onBytes(chunk.length);
        if (seen > afterBytes && cuts.length < times) {
          cuts.push(seen);
          onCut();
          client.destroy();
          server.destroy();
        } else if (!client.write(chunk)) {
          server.pause();
          client.once("drain", () => server.resume());
        }
      });
      server.on("end", () => client.end());
      for (const [socket, other] of [
        [client, server],
        [server, client],
      ] as const) {
        socket.on("error", () => other.destroy());
        socket.on("close", () => other.destroy());
      }
    }).listen(options.port, options.host);
    await new Promise((resolve) => relay.once("listening", resolve));
    const endpoint: Endpoint = {
      address: inner.address,
      close: async () => {
        await inner.close();
        await new Promise((resolve) => relay.close(resolve));
      },
    };
    return endpoint;
  };
}
