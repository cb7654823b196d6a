/**
 * The real cosign 2 and 3, oras, skopeo and docker-registry against a bundle that Sealift made, and
 * Sealift against what they made; all of it in a network namespace without a route.
 */
import assert from "node:assert/strict";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ROLES } from "../../bundles/model/signing-roles.ts";
import { encryptPrivateKey, loadPrivateKey, publicKeyPem } from "../../bundles/sign/key-file.ts";
import {
  type OfflineNamespace,
  offlineNamespace,
  type Ran,
  skipWithoutNamespace,
} from "../support/offline-namespace.ts";
import { type PeerName, requirePeer, skipWithout } from "../support/peers.ts";
import { startRegistry } from "../support/registry.ts";
import { scratch } from "../support/scratch.ts";
import {
  makeSigner,
  type SignedBundle,
  SMALL_NOW,
  signedBundle,
  writeSignedBundle,
  writeTrustFiles,
} from "../support/signed-bundle.ts";

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));
const ADDRESS = "127.0.0.1:5083";
const REGISTRY = "127.0.0.1:5084";
const skip = skipWithoutNamespace() || skipWithout("cosign2", "cosign3", "oras", "skopeo", "registry");
/** What the cosigns say when keys and signatures do not match, and not when something else is wrong. */
const WRONG_KEY = /invalid signature|no matching|no valid|failed to verify signature|could not verify/i;

describe("a bundle and the tools of others", { skip }, () => {
  let directory: string;
  let network: OfflineNamespace;
  let bundle: SignedBundle;
  let path: string;
  let commands: string[];
  const cleanup: (() => Promise<void>)[] = [];

  before(async () => {
    directory = await scratch({ after: (work) => void cleanup.push(work) });
    network = await offlineNamespace();
    cleanup.unshift(() => network.close());
    bundle = signedBundle();
    path = join(directory, "bundle.tar");
    await writeSignedBundle(path, bundle);
    for (const role of ROLES)
      await writeKey(join(directory, `${role}.pub`), bundle.signers[role][0] ?? makeSigner("x"));
    await writeTrustFiles(join(directory, "trust"), bundle.trustFiles);
    commands = await serveBundle(network, path);
    await startRegistry((program, args) => network.start(program, args), join(directory, "registry"), REGISTRY);
  });
  after(async () => {
    for (const work of cleanup) await work();
  });

  /** Runs one of the lines that `bundle serve` prints, with `cosign` being this one. */
  const printed = async (line: string, cosign: PeerName, cwd: string): Promise<Ran> => {
    const bin = join(cwd, `bin-${cosign}`);
    await mkdir(bin, { recursive: true });
    for (const [name, program] of [
      ["cosign", cosign],
      ["oras", "oras"],
      ["skopeo", "skopeo"],
    ] as const) {
      await writeFile(join(bin, name), `#!/bin/sh\nexec "${requirePeer(program)}" "$@"\n`, { mode: 0o755 });
    }
    const env = { PATH: `${bin}:${process.env["PATH"]}`, HOME: cwd, TUF_ROOT: join(cwd, "no-tuf"), TMPDIR: cwd };
    return network.run("sh", ["-c", line], { cwd, env });
  };
  const tool = (name: PeerName, ...args: string[]): Promise<Ran> =>
    network.run(requirePeer(name), args, {
      cwd: directory,
      env: { PATH: process.env["PATH"], HOME: directory, TMPDIR: directory },
    });
  const succeeds = async (running: Promise<Ran>): Promise<Ran> => {
    const ran = await running;
    assert.equal(ran.code, 0, ran.stderr.slice(-2000));
    return ran;
  };
  const image = (name: string): string => {
    const found = bundle.small.release.manifest.images.find((item) => item.name === name);
    return String(found?.digest);
  };

  test("runs where there is no network at all", async () => {
    const script =
      "require('net').connect(53,'192.0.2.1').on('error',e=>{console.log(e.code)}).on('connect',()=>process.exit(9))";
    const { stdout } = await network.run(process.execPath, ["-e", script]);
    assert.match(stdout, /ENETUNREACH/);
  });

  for (const cosign of ["cosign2", "cosign3"] as const) {
    test(`${cosign} accepts the release, the images and their attestations by the commands that bundle serve prints`, async () => {
      const lines = commands.filter((line) => line.startsWith("cosign "));
      assert.equal(lines.length, 3 + 1 + 2 * 3);
      await succeeds(printed(commands.find((line) => line.startsWith("printf ")) ?? "false", cosign, directory));
      for (const line of lines) {
        const ran = await printed(line, cosign, directory);
        assert.equal(ran.code, 0, `${line}\n${ran.stderr.slice(-2000)}`);
      }
    });

    test(`${cosign} refuses each of them for another key`, async () => {
      const wrong = join(directory, `wrong-${cosign}`);
      await mkdir(wrong);
      for (const role of ROLES) await writeKey(join(wrong, `${role}.pub`), makeSigner("stranger"));
      await copyFile(join(directory, "empty-root.json"), join(wrong, "empty-root.json"));
      for (const line of commands.filter((command) => command.startsWith("cosign "))) {
        const ran = await printed(line, cosign, wrong);
        assert.ok(ran.code !== 0 && ran.code !== undefined, `accepted: ${line}`);
        assert.match(ran.stderr, WRONG_KEY, line);
      }
    });

    test(`${cosign} shows in an attestation the SBOM and the provenance that the release names`, async () => {
      for (const [type, documents] of [
        ["cyclonedx", bundle.small.sboms],
        ["slsaprovenance1", bundle.small.provenance],
      ] as const) {
        const line =
          commands.find((command) => command.includes(`--type ${type}`) && command.includes("/gateway@")) ?? "";
        const { stdout } = await succeeds(printed(line, cosign, directory));
        const { payload } = JSON.parse(stdout.split("\n")[0] ?? "") as { payload: string };
        const statement = JSON.parse(Buffer.from(payload, "base64").toString("utf8")) as {
          subject: { digest: { sha256: string } }[];
          predicate: unknown;
        };
        assert.deepEqual(statement.predicate, JSON.parse(String(documents.get("gateway"))));
        assert.equal(`sha256:${statement.subject[0]?.digest.sha256}`, image("gateway"));
      }
    });
  }

  test("oras and skopeo read the served bundle by the commands that bundle serve prints", async () => {
    const lines = commands.filter((line) => /^(?:oras|skopeo) /.test(line));
    assert.ok(lines.length >= 4);
    for (const line of lines) {
      const ran = await printed(line, "cosign3", directory);
      assert.equal(ran.code, 0, `${line}\n${ran.stderr.slice(-2000)}`);
      if (line.startsWith("oras discover")) assert.equal(ran.stdout.match(/sha256:/g)?.length, 1 + 4, ran.stdout);
    }
  });

  test("oras copies the release with its signatures into a registry, where both cosigns accept it", async () => {
    const { release } = bundle.small;
    const repository = `${REGISTRY}/demo/release`;
    const target = `${repository}:${release.manifest.version}`;
    await succeeds(
      tool("oras", "cp", "-r", "--from-oci-layout", `${path}:${release.manifest.version}`, "--to-plain-http", target),
    );
    const legacy = `${release.descriptor.digest.replace(":", "-")}.sig`;
    await succeeds(
      tool("oras", "cp", "--from-oci-layout", `${path}:${legacy}`, "--to-plain-http", `${repository}:${legacy}`),
    );
    const fetched = await succeeds(tool("oras", "manifest", "fetch", "--plain-http", target));
    assert.equal(fetched.stdout, String(bundle.small.blobs.get(release.descriptor.digest)));
    const found = await succeeds(tool("oras", "discover", "--plain-http", "--format", "json", target));
    const { manifests } = JSON.parse(found.stdout) as { manifests: unknown[] };
    assert.equal(manifests.length, 4);
    const reference = `${repository}@${release.descriptor.digest}`;
    await writeKey(join(directory, "stranger.pub"), makeSigner("stranger"));
    for (const cosign of ["cosign2", "cosign3"] as const) {
      for (const role of ROLES) {
        await succeeds(tool(cosign, "verify", "--key", `${role}.pub`, "--insecure-ignore-tlog", reference));
      }
      const refused = await tool(cosign, "verify", "--key", "stranger.pub", "--insecure-ignore-tlog", reference);
      assert.ok(refused.code !== 0 && refused.code !== undefined);
      assert.match(refused.stderr, WRONG_KEY);
    }
  });

  test("oras copies an image with its attestations into a registry, where both cosigns accept them", async () => {
    const reference = `${REGISTRY}/demo/gateway`;
    await succeeds(
      tool("oras", "cp", "-r", "--from-oci-layout", `${path}:gateway`, "--to-plain-http", `${reference}:1.0.0`),
    );
    const root = join(directory, "empty-root.json");
    await writeFile(root, '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}');
    for (const cosign of ["cosign2", "cosign3"] as const) {
      for (const type of ["cyclonedx", "slsaprovenance1"]) {
        const args = [
          "verify-attestation",
          "--insecure-ignore-tlog",
          "--new-bundle-format",
          "--trusted-root",
          root,
          "--type",
          type,
        ];
        await succeeds(tool(cosign, ...args, "--key", "builder.pub", `${reference}@${image("gateway")}`));
        const refused = await tool(cosign, ...args, "--key", "security.pub", `${reference}@${image("gateway")}`);
        assert.ok(refused.code !== 0 && refused.code !== undefined);
        assert.match(refused.stderr, WRONG_KEY);
      }
    }
  });

  test("oras copies the release into an OCI layout that holds the same bytes", async () => {
    const { release, blobs } = bundle.small;
    const layout = join(directory, "copied");
    await succeeds(
      tool("oras", "cp", "-r", "--from-oci-layout", "--to-oci-layout", `${path}:1.0.0`, `${layout}:1.0.0`),
    );
    for (const { digest } of [release.descriptor, ...[...release.images.values()].map((entry) => entry.descriptor)]) {
      const bytes = await readFile(join(layout, "blobs/sha256", digest.slice("sha256:".length)));
      assert.deepEqual(bytes, blobs.get(digest));
    }
  });

  test("skopeo inspects and copies an image out of the bundle's tar without changing its digest", async () => {
    const inspected = await succeeds(tool("skopeo", "inspect", `oci-archive:${path}:audit`));
    assert.equal((JSON.parse(inspected.stdout) as { Digest: string }).Digest, image("audit"));
    const target = `${REGISTRY}/skopeo/audit:1`;
    await succeeds(
      tool(
        "skopeo",
        ...["--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false"],
        ...[`oci-archive:${path}:audit`, `docker://${target}`],
      ),
    );
    const copied = await succeeds(tool("skopeo", "inspect", "--tls-verify=false", `docker://${target}`));
    assert.equal((JSON.parse(copied.stdout) as { Digest: string }).Digest, image("audit"));
  });

  for (const cosign of ["cosign2", "cosign3"] as const) {
    test(`${cosign} opens an encrypted key of ours with its password and with no other`, async () => {
      const signer = makeSigner("ours");
      const key = join(directory, `ours-${cosign}.key`);
      await writeFile(key, encryptPrivateKey(signer.key, "correct horse"));
      const open = (password: string): Promise<Ran> => {
        const env = { PATH: process.env["PATH"], HOME: directory, COSIGN_PASSWORD: password };
        return network.run(requirePeer(cosign), ["public-key", "--key", key], { cwd: directory, env });
      };
      assert.equal((await succeeds(open("correct horse"))).stdout.trim(), publicKeyPem(signer.key).trim());
      const refused = await open("wrong horse");
      assert.ok(refused.code !== 0 && refused.code !== undefined);
      assert.match(refused.stderr, /decrypt|password/i);
    });

    test(`verify allows a release whose release signature ${cosign} made with its own key, and denies it before`, async () => {
      const work = join(directory, `signed-by-${cosign}`);
      await mkdir(work);
      const env = { PATH: process.env["PATH"], HOME: work, COSIGN_PASSWORD: "correct horse", TMPDIR: work };
      const inWork = (name: PeerName, ...args: string[]): Promise<Ran> =>
        succeeds(network.run(requirePeer(name), args, { cwd: work, env }));
      const sealift = (...args: string[]): Promise<Ran> =>
        network.run(process.execPath, [MAIN, ...args], { cwd: work, env });

      await inWork(cosign, "generate-key-pair");
      const theirs = { holder: "carl-cosign", key: loadPrivateKey(join(work, "cosign.key"), "correct horse") };
      const { builder, security } = bundle.signers;
      const unsigned = signedBundle({
        signers: { builder, security, release: [theirs] },
        signatures: [
          ...builder.map((one) => ["builder", one] as const),
          ...security.map((one) => ["security", one] as const),
        ],
      });
      const tar = join(work, "bundle.tar");
      await writeSignedBundle(tar, unsigned);
      await writeTrustFiles(join(work, "trust"), unsigned.trustFiles);
      const verify = ["verify", tar, "--trust", join(work, "trust"), "--at", SMALL_NOW, "--json"];
      const before = await sealift(...verify);
      assert.equal(before.code, 3, before.stdout);
      assert.match(before.stdout, /"SIGNATURE_MISSING"/);

      const { digest } = unsigned.small.release.descriptor;
      const repository = `${REGISTRY}/${cosign}/release`;
      await inWork("oras", "cp", "--from-oci-layout", `${tar}:1.0.0`, "--to-plain-http", `${repository}:1.0.0`);
      const offline =
        cosign === "cosign2" ? ["--tlog-upload=false"] : ["--signing-config", "sc.json", "--trusted-root", "root.json"];
      if (cosign === "cosign3") await inWork(cosign, "signing-config", "create", "--out", "sc.json");
      await writeFile(
        join(work, "root.json"),
        '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}',
      );
      await inWork(cosign, "sign", "--yes", "--key", "cosign.key", ...offline, `${repository}@${digest}`);
      const signature = cosign === "cosign2" ? `${digest.replace(":", "-")}.sig` : "1.0.0";
      await inWork(
        "oras",
        ...[
          "cp",
          "-r",
          "--from-plain-http",
          `${repository}:${signature}`,
          "--to-oci-layout",
          `${join(work, "back")}:${signature}`,
        ],
      );
      const attached = await sealift("bundle", "attach", tar, join(work, "back"));
      assert.equal(attached.code, 0, attached.stderr);
      const allowed = await sealift(...verify);
      assert.equal(allowed.code, 0, allowed.stdout + allowed.stderr);
    });

    test(`verify allows a bundle of which ${cosign} made every signature and attestation`, async () => {
      const work = join(directory, `all-by-${cosign}`);
      await mkdir(work);
      const env = { PATH: process.env["PATH"], HOME: work, COSIGN_PASSWORD: "correct horse", TMPDIR: work };
      const inWork = (name: PeerName, ...args: string[]): Promise<Ran> =>
        succeeds(network.run(requirePeer(name), args, { cwd: work, env }));
      const sealift = (...args: string[]): Promise<Ran> =>
        network.run(process.execPath, [MAIN, ...args], { cwd: work, env });

      const signer = async (role: string) => {
        await inWork(cosign, "generate-key-pair", "--output-key-prefix", role);
        return [{ holder: `${role}-by-cosign`, key: loadPrivateKey(join(work, `${role}.key`), "correct horse") }];
      };
      const signers = {
        builder: await signer("builder"),
        security: await signer("security"),
        release: await signer("release"),
      };
      const unsigned = signedBundle({ signers, signatures: [] });
      const tar = join(work, "bundle.tar");
      await writeSignedBundle(tar, unsigned);
      await writeTrustFiles(join(work, "trust"), unsigned.trustFiles);
      await writeFile(
        join(work, "root.json"),
        '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}',
      );
      if (cosign === "cosign3") await inWork(cosign, "signing-config", "create", "--out", "sc.json");
      const offline =
        cosign === "cosign2" ? ["--tlog-upload=false"] : ["--signing-config", "sc.json", "--trusted-root", "root.json"];
      const attestForm = cosign === "cosign2" ? ["--new-bundle-format"] : [];

      const { release, sboms } = unsigned.small;
      const whole = await sealift("bundle", "inspect", tar, "--provenance");
      const provenance = new Map([...unsigned.small.provenance, ["1.0.0", Buffer.from(whole.stdout)]]);
      const signed: { tag: string; digest: string; keys: string[] }[] = [
        { tag: "1.0.0", digest: release.descriptor.digest, keys: ["builder", "security", "release"] },
        ...release.manifest.images.map(({ name, digest }) => ({ tag: name, digest, keys: ["builder"] })),
      ];
      for (const { tag, digest, keys } of signed) {
        const repository = `${REGISTRY}/${cosign}-all/${tag}`;
        await inWork("oras", "cp", "--from-oci-layout", `${tar}:${tag}`, "--to-plain-http", `${repository}:${tag}`);
        for (const key of keys) {
          await inWork(cosign, "sign", "--yes", "--key", `${key}.key`, ...offline, `${repository}@${digest}`);
        }
        for (const [type, documents] of [
          ["cyclonedx", sboms],
          ["https://slsa.dev/provenance/v1", provenance],
        ] as const) {
          const document = documents.get(tag);
          if (!document) continue;
          await writeFile(join(work, "predicate.json"), document);
          const how = ["--yes", "--key", "builder.key", "--type", type, "--predicate", "predicate.json"];
          await inWork(cosign, "attest", ...how, ...attestForm, ...offline, `${repository}@${digest}`);
        }
        const back = join(work, `back-${tag}`);
        const from = ["cp", "-r", "--from-plain-http"];
        await inWork("oras", ...from, `${repository}:${tag}`, "--to-oci-layout", `${back}:${tag}`);
        if (cosign === "cosign2") {
          const dotSig = `${digest.replace(":", "-")}.sig`;
          await inWork("oras", ...from, `${repository}:${dotSig}`, "--to-oci-layout", `${back}:${dotSig}`);
        }
        const attached = await sealift("bundle", "attach", tar, back);
        assert.equal(attached.code, 0, attached.stderr);
      }
      const verdict = await sealift("verify", tar, "--trust", join(work, "trust"), "--at", SMALL_NOW, "--json");
      assert.equal(verdict.code, 0, verdict.stdout + verdict.stderr);
    });
  }
});

async function writeKey(path: string, signer: { readonly key: Parameters<typeof publicKeyPem>[0] }): Promise<void> {
  await writeFile(path, publicKeyPem(signer.key));
}

/** Starts `bundle serve` there and gives the commands that it prints for reviewers. */
async function serveBundle(network: OfflineNamespace, path: string): Promise<string[]> {
  const child = network.start(process.execPath, [MAIN, "bundle", "serve", path, "--address", ADDRESS, "--json"]);
  let text = "";
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.endsWith("}\n")) resolve((JSON.parse(text) as { commands: string[] }).commands);
    });
    child.once("exit", () => reject(new Error(`bundle serve ended: ${errors}`)));
  });
}
