/** A release in a site's store, read by the tools of others, verified by the site, and on a disk that is full. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { hexOf } from "../../bundles/model/digest.ts";
import { ROLES } from "../../bundles/model/signing-roles.ts";
import { publicKeyPem } from "../../bundles/sign/key-file.ts";
import { openSiteForChange } from "../../installer/lifecycle/site.ts";
import { verifyForSite } from "../../installer/lifecycle/site-verify.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { stageRelease } from "../../installer/site/store.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { sealift } from "../support/command-line.ts";
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
  type Signer,
  signedBundle,
  writeSignedBundle,
  writeTrustFiles,
} from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";
import type { SmallDiskReport } from "../support/small-disk-victim.ts";
import { sha256 } from "../support/test-trust.ts";

const REGISTRY = "127.0.0.1:5087";
/** What the cosigns say when keys and signatures do not match, and not when something else is wrong. */
const WRONG_KEY = /invalid signature|no matching|no valid|failed to verify signature|could not verify/i;
const VICTIM = fileURLToPath(new URL("../support/small-disk-victim.ts", import.meta.url));
const isRoot = process.getuid?.() === 0;
const MOUNT = ["unshare", ...(isRoot ? [] : ["-r"]), "-m", "sh", "-c"];

const weights = Buffer.alloc(12_000_000, "weights ");
const bundle: SignedBundle = signedBundle({
  now: new Date(),
  small: smallRelease({ files: [{ name: "model", mediaType: "application/octet-stream", bytes: weights }] }),
});
const { digest } = bundle.small.release.descriptor;

describe("a site that trusts a publisher, with a release in its store", () => {
  let directory: string;
  let stored: string;
  const at = (name: string): string => join(directory, name);
  const cleanup: (() => Promise<void>)[] = [];

  before(async () => {
    directory = await scratch({ after: (work) => void cleanup.push(work) });
    await writeSignedBundle(at("bundle.tar"), bundle);
    await writeTrustFiles(at("trust"), bundle.trustFiles);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", at("alice")]);
    const key = await readFile(at("alice.pub"), "utf8");
    await writeFile(at("operators"), `alice namespaces="sealift-authorization" ${key}`);
    const fingerprint = sha256(bundle.trustFiles.get("1.root.json") as Buffer);
    for (const args of [
      ["site", "init", "--operators", at("operators")],
      ["trust", "import", at("trust"), "--fingerprint", fingerprint, "--key", at("alice")],
    ]) {
      const { exit, stderr } = await sealift([...args, "--state", at("state")]);
      assert.equal(exit, 0, stderr);
    }
    const { allowed, close } = await verifyForSite(openSiteForChange(at("state")), at("bundle.tar"), () => {});
    assert.ok(allowed);
    stored = await stageRelease(hostDisk, at("state"), allowed);
    close();
    assert.equal(stored, join(at("state"), "store", hexOf(digest)));
  });
  after(async () => {
    for (const work of cleanup) await work();
  });

  test("verify judges bundle and store for the site, and with --trust, --policy or --at only advises", async () => {
    for (const path of [at("bundle.tar"), stored]) {
      for (const [scope, options] of [
        ["site", ["--state", at("state")]],
        ["advisory", ["--trust", at("trust")]],
        ["advisory", ["--state", at("state"), "--at", new Date().toISOString()]],
      ] as const) {
        const { exit, stdout, stderr } = await sealift(["verify", path, ...options, "--json"]);
        assert.equal(exit, 0, stdout + stderr);
        const verdict = JSON.parse(stdout) as Verdict;
        assert.deepEqual([verdict.decision, verdict.scope, verdict.subject.digest], ["allow", scope, digest]);
      }
    }
  });

  test("verify without a site says so with exit 4 and a next command", async () => {
    const { exit, stderr } = await sealift(["verify", at("bundle.tar"), "--state", at("nowhere")]);
    assert.equal(exit, 4);
    assert.match(stderr, /error \[TRUST_NOT_ENROLLED\]/);
    assert.match(stderr, /hint: .*--trust DIR/);
  });

  describe("and the tools of others", {
    skip: skipWithoutNamespace() || skipWithout("cosign2", "cosign3", "oras", "registry"),
  }, () => {
    let network: OfflineNamespace;
    const tool = (name: PeerName, ...args: string[]): Promise<Ran> =>
      network.run(requirePeer(name), args, {
        cwd: directory,
        env: { PATH: process.env["PATH"], HOME: directory, TMPDIR: directory, TUF_ROOT: at("no-tuf") },
      });
    const succeeds = async (running: Promise<Ran>): Promise<Ran> => {
      const ran = await running;
      assert.equal(ran.code, 0, ran.stderr.slice(-2000));
      return ran;
    };

    before(async () => {
      network = await offlineNamespace();
      await startRegistry((program, args) => network.start(program, args), at("registry"), REGISTRY);
      await writeFile(at("stranger.pub"), publicKeyPem(makeSigner("stranger").key));
      for (const role of ROLES) {
        const [signer] = bundle.signers[role] as [Signer];
        await writeFile(at(`${role}.pub`), publicKeyPem(signer.key));
      }
    });
    after(() => network.close());

    test("oras copies the stored release with its signatures, and both cosigns accept them", async () => {
      const reference = `${REGISTRY}/demo/release`;
      const version = bundle.small.release.manifest.version;
      const legacy = `sha256-${hexOf(digest)}.sig`;
      const plain = ["--to-plain-http"];
      await succeeds(
        tool("oras", "cp", "-r", "--from-oci-layout", `${stored}:${version}`, ...plain, `${reference}:${version}`),
      );
      await succeeds(
        tool("oras", "cp", "--from-oci-layout", `${stored}:${legacy}`, ...plain, `${reference}:${legacy}`),
      );
      for (const cosign of ["cosign2", "cosign3"] as const) {
        const verify = (key: string): Promise<Ran> =>
          tool(cosign, "verify", "--key", key, "--insecure-ignore-tlog", `${reference}@${digest}`);
        for (const role of ROLES) await succeeds(verify(`${role}.pub`));
        const refused = await verify("stranger.pub");
        assert.ok(refused.code !== 0 && refused.code !== undefined);
        assert.match(refused.stderr, WRONG_KEY);
      }
    });

    test("oras reads the carried file out of the store", async () => {
      const file = bundle.small.release.manifest.files.find(({ name }) => name === "model");
      const out = at("pulled");
      await mkdir(out);
      const manifest = await succeeds(tool("oras", "manifest", "fetch", "--oci-layout", `${stored}@${file?.digest}`));
      const { layers } = JSON.parse(manifest.stdout) as { layers: { digest: string }[] };
      const blob = `${stored}@${layers[0]?.digest}`;
      await succeeds(tool("oras", "blob", "fetch", "--oci-layout", "--output", join(out, "model"), blob));
      assert.ok((await readFile(join(out, "model"))).equals(weights));
    });
  });
});

const canMount = spawnSync(MOUNT[0] as string, [...MOUNT.slice(1), "mount -t tmpfs tmpfs /mnt"]).status === 0;

test("a disk that fills while a release is staged is told in a code, keeps nothing of it, and has room again", {
  skip: canMount ? false : "this machine gives the user no mount namespace (unshare -m)",
}, async (t) => {
  const directory = await scratch(t);
  const [path, trust, root] = ["bundle.tar", "trust", "small"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  const old = signedBundle({ small: bundle.small });
  await writeSignedBundle(path, old);
  await writeTrustFiles(trust, old.trustFiles);
  await mkdir(root);
  const script = `mount -t tmpfs -o size=48m tmpfs "$1" && exec "$2" "$3" "$4" "$5" "$1"`;
  const args = ["sh", root, process.execPath, VICTIM, path, trust];
  const output = execFileSync(MOUNT[0] as string, [...MOUNT.slice(1), script, ...args], { encoding: "utf8" });
  const { ends, messages, left, stored } = JSON.parse(output) as SmallDiskReport;
  assert.deepEqual(ends, ["STATE_DISK_FULL", "STATE_DISK_FULL", "done"]);
  assert.match(messages[0] as string, /ENOSPC/);
  assert.match(messages[1] as string, /got \d+ bytes free, want \d+$/);
  assert.deepEqual(left.slice(0, 2), [[], []]);
  assert.deepEqual(stored, [digest]);
});
