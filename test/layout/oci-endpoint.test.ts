import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { blobName, closeStore, openLayout, openStore, readLayout } from "../../bundles/layout/layout.ts";
import { type EndpointOptions, serveLayout } from "../../bundles/layout/oci-endpoint.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import {
  OCI_INDEX,
  OCI_LAYER_ZSTD,
  OCI_MANIFEST,
  RELEASE_FILE,
  SIGSTORE_BUNDLE,
} from "../../bundles/model/media-types.ts";
import type { Index } from "../../bundles/model/oci.ts";
import { scratch } from "../support/scratch.ts";
import { type SignedBundle, signedBundle, signedFiles } from "../support/signed-bundle.ts";
import { smallRelease, writeDirectory, writeTar } from "../support/small-bundle.ts";

/** Lies in every layout here, and nothing in the layout names it. */
const STRAY = Buffer.from("stray");
const BIG = Buffer.alloc(3 * 1024 * 1024 + 17, "not so small ");

interface Served {
  readonly url: string;
  readonly bundle: SignedBundle;
  readonly problems: string[];
}

/** Serves a signed bundle with a file of several megabytes; `damage` changes files before they are written. */
async function serve(
  context: TestContext,
  damage: (name: string, bytes: Buffer, bundle: SignedBundle) => Buffer = (_, bytes) => bytes,
  options: Partial<EndpointOptions> = {},
): Promise<Served> {
  const files = [{ name: "model", mediaType: "application/octet-stream", bytes: BIG }];
  const bundle = signedBundle({ small: smallRelease({ files }) });
  const directory = await scratch(context);
  const path = join(directory, "layout");
  await mkdir(path);
  await writeDirectory(
    path,
    [...signedFiles(bundle), [`blobs/sha256/${digestOf(STRAY).slice(7)}`, STRAY] as const].map(([name, bytes]) => [
      name,
      damage(name, bytes, bundle),
    ]),
  );
  const { layout, store } = openLayout(path);
  const problems: string[] = [];
  const endpoint = await serveLayout(layout, {
    host: "127.0.0.1",
    port: 0,
    onProblem: (message) => problems.push(message),
    ...options,
  });
  context.after(async () => {
    await endpoint.close();
    closeStore(store);
  });
  return { url: `http://${endpoint.address}`, bundle, problems };
}

function gateway(bundle: SignedBundle): Digest {
  return bundle.small.release.images.get("gateway")?.descriptor.digest as Digest;
}

async function errorCode(response: Response): Promise<string> {
  return ((await response.json()) as { errors: { code: string }[] }).errors[0]?.code ?? "";
}

test("answers the version check and lists tags", async (t) => {
  const { url } = await serve(t);
  const version = await fetch(`${url}/v2/`);
  assert.equal(version.status, 200);
  assert.equal(version.headers.get("docker-distribution-api-version"), "registry/2.0");
  const { name, tags } = (await (await fetch(`${url}/v2/demo/gateway/tags/list`)).json()) as {
    name: string;
    tags: string[];
  };
  assert.equal(name, "demo/gateway");
  for (const tag of ["1.0.0", "gateway", "audit", "model"]) assert.ok(tags.includes(tag), tag);
});

test("serves manifests by digest and by tag with their exact bytes and media types", async (t) => {
  const { url, bundle } = await serve(t);
  const { release, blobs } = bundle.small;
  for (const [reference, digest, type] of [
    [`demo/release/manifests/${release.descriptor.digest}`, release.descriptor.digest, OCI_INDEX],
    ["demo/release/manifests/1.0.0", release.descriptor.digest, OCI_INDEX],
    [`demo/gateway/manifests/${gateway(bundle)}`, gateway(bundle), OCI_MANIFEST],
    ["demo/gateway/manifests/1.0.0", gateway(bundle), OCI_MANIFEST],
    ["any/other/manifests/gateway", gateway(bundle), OCI_MANIFEST],
  ] as const) {
    const response = await fetch(`${url}/v2/${reference}`);
    assert.equal(response.status, 200, reference);
    assert.equal(response.headers.get("content-type"), type);
    assert.equal(response.headers.get("docker-content-digest"), digest);
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), blobs.get(digest));
    const head = await fetch(`${url}/v2/${reference}`, { method: "HEAD" });
    assert.equal(head.headers.get("content-length"), String(blobs.get(digest)?.length));
    assert.equal((await head.arrayBuffer()).byteLength, 0);
  }
});

test("serves every blob of the images with the media type of its descriptor", async (t) => {
  const { url, bundle } = await serve(t);
  const manifest = bundle.small.release.images.get("gateway")?.manifest;
  assert.ok(manifest && manifest.layers.length > 0);
  for (const blob of [manifest.config, ...manifest.layers]) {
    const response = await fetch(`${url}/v2/demo/gateway/blobs/${blob.digest}`);
    assert.equal(response.headers.get("content-type"), blob.mediaType);
    assert.equal(digestOf(Buffer.from(await response.arrayBuffer())), blob.digest);
  }
  assert.equal(manifest.layers[0]?.mediaType, OCI_LAYER_ZSTD);
});

test("serves parts of a blob by Range, across chunks, and refuses impossible ones", async (t) => {
  const { url } = await serve(t);
  const blob = `${url}/v2/demo/model/blobs/${digestOf(BIG)}`;
  for (const [range, start, end] of [
    ["bytes=0-0", 0, 1],
    ["bytes=1048570-1048580", 1_048_570, 1_048_581],
    ["bytes=2000000-", 2_000_000, BIG.length],
    ["bytes=-5", BIG.length - 5, BIG.length],
    [`bytes=5-${BIG.length * 2}`, 5, BIG.length],
  ] as const) {
    const response = await fetch(blob, { headers: { range } });
    assert.equal(response.status, 206, range);
    assert.equal(response.headers.get("content-range"), `bytes ${start}-${end - 1}/${BIG.length}`);
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), BIG.subarray(start, end));
  }
  for (const range of [`bytes=${BIG.length}-`, "bytes=-0"]) {
    const response = await fetch(blob, { headers: { range } });
    assert.equal(response.status, 416, range);
    assert.equal(response.headers.get("content-range"), `bytes */${BIG.length}`);
  }
  for (const range of ["bytes=5-2", "bytes=-", "bytes=0-1,3-4", "lines=1-2"]) {
    const response = await fetch(blob, { headers: { range } });
    assert.equal(response.status, 200, range);
    assert.equal((await response.arrayBuffer()).byteLength, BIG.length);
  }
});

test("lists referrers, filtered by artifact type, and gives the same list under the fallback tag", async (t) => {
  const { url, bundle } = await serve(t);
  const subject = gateway(bundle);
  const all = (await (await fetch(`${url}/v2/demo/gateway/referrers/${subject}`)).json()) as Index;
  assert.equal(all.manifests.length, 3);
  for (const entry of all.manifests) assert.equal(entry.artifactType, SIGSTORE_BUNDLE);
  const filtered = await fetch(
    `${url}/v2/demo/gateway/referrers/${subject}?artifactType=${encodeURIComponent(SIGSTORE_BUNDLE)}`,
  );
  assert.equal(filtered.headers.get("oci-filters-applied"), "artifactType");
  assert.deepEqual(await filtered.json(), all);
  const other = await fetch(`${url}/v2/demo/gateway/referrers/${subject}?artifactType=text/plain`);
  assert.deepEqual(((await other.json()) as Index).manifests, []);
  const fallback = await fetch(`${url}/v2/demo/gateway/manifests/${subject.replace(":", "-")}`);
  assert.equal(fallback.headers.get("content-type"), OCI_INDEX);
  assert.deepEqual(await fallback.json(), all);
  const legacy = await fetch(`${url}/v2/demo/gateway/manifests/${subject.replace(":", "-")}.sig`);
  assert.equal(legacy.status, 200);
});

test("says that a digest without referrers has none, and has no fallback tag for it", async (t) => {
  const { url, bundle } = await serve(t);
  const model = bundle.small.release.files.get("model")?.descriptor.digest as Digest;
  const response = await fetch(`${url}/v2/demo/model/referrers/${model}`);
  assert.deepEqual(((await response.json()) as Index).manifests, []);
  assert.equal((await fetch(`${url}/v2/demo/model/manifests/${model.replace(":", "-")}`)).status, 404);
});

test("knows nothing that the bundle's index does not reach", async (t) => {
  const { url, bundle } = await serve(t);
  const stray = digestOf(STRAY);
  for (const [path, code] of [
    [`/v2/demo/gateway/blobs/${stray}`, "BLOB_UNKNOWN"],
    [`/v2/demo/gateway/blobs/${gateway(bundle)}`, "BLOB_UNKNOWN"],
    [`/v2/demo/gateway/manifests/${stray}`, "MANIFEST_UNKNOWN"],
    [`/v2/demo/gateway/manifests/${digestOf(BIG)}`, "MANIFEST_UNKNOWN"],
    ["/v2/demo/gateway/manifests/9.9.9", "MANIFEST_UNKNOWN"],
    ["/v2/demo/gateway/blobs/sha256:xyz", "DIGEST_INVALID"],
    ["/v2/Demo/manifests/1.0.0", "NAME_INVALID"],
    ["/v2/demo/gateway/uploads/1", "UNSUPPORTED"],
    ["/v2/%E0%A4%A/manifests/x", "UNSUPPORTED"],
    ["/etc/passwd", "UNSUPPORTED"],
  ] as const) {
    const response = await fetch(url + path);
    assert.ok(response.status === 404 || response.status === 400, path);
    assert.equal(await errorCode(response), code, path);
  }
});

test("answers only the repositories that it was told to", async (t) => {
  const { url, bundle } = await serve(t, undefined, { repositories: ["demo/gateway"] });
  assert.equal((await fetch(`${url}/v2/demo/gateway/manifests/${gateway(bundle)}`)).status, 200);
  const other = await fetch(`${url}/v2/demo/audit/manifests/${gateway(bundle)}`);
  assert.equal(other.status, 404);
  assert.equal(await errorCode(other), "NAME_UNKNOWN");
});

test("refuses every method that could change something", async (t) => {
  const { url, bundle } = await serve(t);
  for (const method of ["PUT", "POST", "PATCH", "DELETE", "OPTIONS"]) {
    const response = await fetch(`${url}/v2/demo/gateway/manifests/${gateway(bundle)}`, { method });
    assert.equal(response.status, 405, method);
    assert.equal(response.headers.get("allow"), "GET, HEAD");
  }
});

for (const [what, header] of [
  ["whole", {}],
  ["from the middle on", { range: "bytes=1500000-" }],
  ["before the damage", { range: "bytes=0-9" }],
] as const) {
  test(`never completes the answer about a damaged blob, asked for ${what}`, async (t) => {
    const { url, problems } = await serve(t, (name, bytes) => {
      if (name !== `blobs/sha256/${digestOf(BIG).slice(7)}`) return bytes;
      const damaged = Buffer.from(bytes);
      damaged[bytes.length - 1] = (damaged[bytes.length - 1] ?? 0) ^ 1;
      return damaged;
    });
    const outcome = await new Promise<string>((resolve) => {
      request(`${url}/v2/demo/model/blobs/${digestOf(BIG)}`, { headers: header }, (response) => {
        response.on("data", () => {});
        response.on("end", () => resolve(response.statusCode === 500 ? "error" : "complete"));
        response.on("error", () => resolve("broken"));
      }).end();
    });
    assert.notEqual(outcome, "complete");
    assert.match(problems[0] ?? "", /got sha256:/);
  });
}

test("answers a damaged small blob, a blob of another size and a damaged manifest with an error", async (t) => {
  const { url, bundle } = await serve(t, (name, bytes, { small }) => {
    const manifest = small.release.images.get("gateway")?.manifest;
    if (name.endsWith(String(manifest?.config.digest.slice(7))))
      return Buffer.from(bytes.toString().replace("amd64", "arm64"));
    if (name.endsWith(String(manifest?.layers[0]?.digest.slice(7)))) return Buffer.concat([bytes, Buffer.from("more")]);
    return bytes;
  });
  const manifest = bundle.small.release.images.get("gateway")?.manifest;
  for (const digest of [manifest?.config.digest, manifest?.layers[0]?.digest]) {
    const response = await fetch(`${url}/v2/demo/gateway/blobs/${digest}`);
    assert.equal(response.status, 500);
    assert.equal(response.headers.get("docker-content-digest"), null);
  }
});

test("does not start over a layout with a damaged manifest", async (t) => {
  const starting = serve(t, (name, bytes, { small }) =>
    name.endsWith(String(small.release.images.get("gateway")?.descriptor.digest.slice(7)))
      ? Buffer.from(bytes.toString().replace("config", "konfig"))
      : bytes,
  );
  await assert.rejects(starting, { code: "LAYOUT_DIGEST_MISMATCH" });
});

test("says which address it cannot have", async (t) => {
  const { url } = await serve(t);
  const port = Number(new URL(url).port);
  await assert.rejects(serve(t, undefined, { port }), { code: "LAYOUT_ENDPOINT_UNAVAILABLE" });
});

test("survives a client that goes away in the middle and one that speaks nonsense", async (t) => {
  const { url, bundle } = await serve(t);
  const { hostname, port } = new URL(url);
  await new Promise<void>((resolve) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(`GET /v2/demo/model/blobs/${digestOf(BIG)} HTTP/1.1\r\nhost: x\r\n\r\n`);
      socket.once("data", () => socket.destroy());
    });
    socket.once("close", () => resolve());
  });
  await new Promise<void>((resolve) => {
    const socket = connect(Number(port), hostname, () => socket.write("\0\0\0 nonsense\r\n\r\n"));
    socket.on("data", () => {});
    socket.once("close", () => resolve());
  });
  assert.equal((await fetch(`${url}/v2/demo/gateway/manifests/${gateway(bundle)}`)).status, 200);
  assert.equal(bundle.small.release.files.get("model")?.manifest.artifactType, RELEASE_FILE);
});

test("what a thin bundle leaves out is served from its base, so that an engine can pull it", async (t) => {
  const bundle = signedBundle();
  const directory = await scratch(t);
  const [base, thin] = [join(directory, "base"), join(directory, "thin")];
  await writeDirectory(base, signedFiles(bundle));
  const layers = [...bundle.small.release.images.values()].flatMap(({ manifest }) => manifest.layers);
  const names = new Set(layers.map(({ digest }) => blobName(digest)));
  await writeTar(
    thin,
    signedFiles(bundle).filter(([name]) => !names.has(name)),
  );
  const store = openStore(thin, [base]);
  const endpoint = await serveLayout(readLayout(store), { host: "127.0.0.1", port: 0, onProblem: assert.fail });
  t.after(async () => {
    await endpoint.close();
    closeStore(store);
  });
  for (const { digest } of layers) {
    const response = await fetch(`http://${endpoint.address}/v2/gateway/blobs/${digest}`);
    assert.equal(response.status, 200);
    assert.equal(digestOf(Buffer.from(await response.arrayBuffer())), digest);
  }
});
