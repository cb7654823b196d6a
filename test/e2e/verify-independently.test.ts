/**
 * runbooks/verify-independently.md as a reviewer follows it: with the tools of others only, without a network.
 * It must come to what `sealift verify` comes to, for a good bundle and for bad ones.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type NewSignatureObject, renderSigstoreReferrer } from "../../bundles/layout/signature-object.ts";
import { PREDICATE_SLSA_PROVENANCE } from "../../bundles/model/media-types.ts";
import { renderReleaseProvenance } from "../../bundles/model/release-provenance.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { judge, wrongCodes } from "../support/judge.ts";
import { type PeerName, requirePeer, skipWithout } from "../support/peers.ts";
import { readRunbook, runRunbook } from "../support/run-runbook.ts";
import { scratch } from "../support/scratch.ts";
import {
  makeSigner,
  type SignedBundle,
  type Signer,
  signedBundle,
  signedFiles,
  smallTrust,
  writeSignedBundle,
  writeTrustFiles,
} from "../support/signed-bundle.ts";
import { renderTar, SMALL_BUILDER } from "../support/small-bundle.ts";
import { objectAbout } from "../support/tamper.ts";

const RUNBOOK = readRunbook(new URL("../../runbooks/verify-independently.md", import.meta.url));
const skip = skipWithout("cosign2", "cosign3", "oras");
const now = new Date(Date.now() - 60_000);
const good = signedBundle({ now });

interface Input {
  readonly uri: string;
  readonly name?: string;
  readonly digest: Readonly<Record<string, string>>;
}

interface Review {
  readonly bundle: SignedBundle;
  /** Instead of the bundle's own tar. */
  readonly tar?: Buffer;
  readonly trustFiles?: Map<string, Buffer>;
  readonly paper?: string;
}

describe("a reviewer with the tools of others", { skip }, () => {
  let directory: string;
  let count = 0;
  const cleanup: (() => Promise<void>)[] = [];

  before(async () => {
    directory = await scratch({ after: (work) => void cleanup.push(work) });
  });
  after(async () => {
    for (const work of cleanup) await work();
  });

  /** Follows the runbook, and asks `sealift verify` too. */
  async function review(cosign: PeerName, { bundle, tar, trustFiles = bundle.trustFiles, paper }: Review) {
    count += 1;
    const home = join(directory, String(count));
    const bin = join(home, "bin");
    await mkdir(bin, { recursive: true });
    for (const [name, program] of [
      ["cosign", cosign],
      ["oras", "oras"],
    ] as const) {
      await writeFile(join(bin, name), `#!/bin/sh\nexec "${requirePeer(program)}" "$@"\n`, { mode: 0o755 });
    }
    const path = join(home, "bundle.tar");
    if (tar) await writeFile(path, tar);
    else await writeSignedBundle(path, bundle);
    await writeTrustFiles(join(home, "trust"), trustFiles);
    const root = createHash("sha256")
      .update(trustFiles.get("1.root.json") ?? "")
      .digest("hex");
    const nowhere = "http://127.0.0.1:9";
    const environment = {
      PATH: `${bin}:/usr/bin:/bin`,
      HOME: home,
      TMPDIR: home,
      BUNDLE: path,
      TRUST: join(home, "trust"),
      PAPER: paper ?? root,
      HTTP_PROXY: nowhere,
      HTTPS_PROXY: nowhere,
      TUF_ROOT: join(home, "no-tuf"),
    };
    const ours = wrongCodes(await judge(path, { trustFiles, at: new Date().toISOString() }));
    const theirs = (): unknown => runRunbook(RUNBOOK, { environment, directory: home });
    return { ours, theirs };
  }

  for (const cosign of ["cosign2", "cosign3"] as const) {
    test(`comes to the same conclusion with ${cosign} about a good release`, async () => {
      const { ours, theirs } = await review(cosign, { bundle: good });
      assert.deepEqual(ours, []);
      theirs();
    });
  }

  const without = (drop: (object: NewSignatureObject) => boolean): SignedBundle => ({
    ...good,
    objects: good.objects.filter((object) => !drop(object)),
  });
  /** The good release with another provenance of its own, by the builder; without one if `change` is undefined. */
  const saying = (change: ((inputs: Input[]) => Input[]) | undefined): SignedBundle => {
    const { descriptor, manifest } = good.small.release;
    const old = objectAbout(good.objects, "sigstore-bundle", descriptor.digest, PREDICATE_SLSA_PROVENANCE);
    const rest = good.objects.filter((object) => object !== old);
    if (change === undefined) return { ...good, objects: rest };
    const says = renderReleaseProvenance(manifest, SMALL_BUILDER) as {
      buildDefinition: { resolvedDependencies: Input[] };
    };
    says.buildDefinition.resolvedDependencies = change(says.buildDefinition.resolvedDependencies);
    const [{ key }] = good.signers.builder as [Signer];
    const statement = signStatement(key, statementFor(descriptor.digest, PREDICATE_SLSA_PROVENANCE, says));
    return { ...good, objects: [...rest, renderSigstoreReferrer(descriptor, PREDICATE_SLSA_PROVENANCE, statement)] };
  };
  const files = signedFiles(good);
  const edited = (change: (name: string, bytes: Buffer) => Buffer): Buffer =>
    renderTar(files.map(([name, bytes]) => [name, change(name, bytes)]));
  const stranger = makeSigner("mallory");
  const { builder, security } = good.signers;
  const image = good.small.release.manifest.images[0];
  const imageBlob = `blobs/sha256/${String(image?.digest).slice("sha256:".length)}`;

  const bad: readonly (readonly [string, RegExp, () => Review])[] = [
    ["a root that is not on the paper", /not the one on the paper/, () => ({ bundle: good, paper: "ab".repeat(32) })],
    [
      "a release that a stranger signed",
      /lacks signatures of release/,
      () => ({
        bundle: signedBundle({
          small: good.small,
          signers: { builder, security, release: [stranger] },
        }),
        trustFiles: good.trustFiles,
      }),
    ],
    [
      "a release without the signatures of security",
      /lacks signatures of security/,
      () => {
        const signatures = (["builder", "release"] as const).flatMap((role) =>
          good.signers[role].map((signer) => [role, signer] as const),
        );
        const { small, signers, trustFiles } = good;
        return { bundle: signedBundle({ small, signers, signatures }), trustFiles };
      },
    ],
    [
      "an image without its SBOM's attestation",
      /lacks signatures of builder/,
      () => ({ bundle: without(({ signatures }) => signatures.some((one) => textOf(one).includes("cyclonedx.org"))) }),
    ],
    ["a release without provenance of its own", /lacks signatures of builder/, () => ({ bundle: saying(undefined) })],
    [
      "provenance of the release that leaves an image out",
      /leaves out/,
      () => ({ bundle: saying((inputs) => inputs.filter(({ name }) => name !== "gateway")) }),
    ],
    [
      "provenance of the release with an input from elsewhere",
      /neither in the release nor in its lock/,
      () => ({
        bundle: saying((inputs) => [...inputs, { uri: "https://evil.example", digest: { sha256: "e".repeat(64) } }]),
      }),
    ],
    [
      "a blob that was changed in place",
      /does not hash to its name/,
      () => ({ bundle: good, tar: edited((name, bytes) => (name === imageBlob ? Buffer.from(`${bytes} `) : bytes)) }),
    ],
    [
      "a file that nothing accounts for",
      /accounts for/,
      () => ({
        bundle: good,
        tar: renderTar([
          ...files,
          [`blobs/sha256/${createHash("sha256").update("x").digest("hex")}`, Buffer.from("x")],
        ]),
      }),
    ],
    [
      "a trust that root did not sign",
      /lacks signatures/,
      () => {
        const trustFiles = new Map(good.trustFiles);
        const other = smallTrust(good.signers, { now });
        trustFiles.set("1.targets.json", other.get("1.targets.json") as Buffer);
        return { bundle: good, trustFiles };
      },
    ],
    [
      "a trust that has expired",
      /expired on/,
      () => {
        const old = signedBundle({ now: new Date(Date.now() - 400 * 86_400_000) });
        return { bundle: old };
      },
    ],
  ];
  for (const [what, says, make] of bad) {
    test(`stops at ${what}, as sealift verify does`, async () => {
      const made = make();
      const { ours, theirs } = await review("cosign3", made);
      if (made.paper === undefined) assert.notDeepEqual(ours, []);
      assert.throws(theirs, says);
    });
  }

  /** What a DSSE envelope or a payload says, in the clear. */
  function textOf(signature: NewSignatureObject["signatures"][number]): string {
    if (signature.kind === "simple-signing") return String(signature.payload);
    const { dsseEnvelope } = JSON.parse(String(signature.bundle)) as { dsseEnvelope: { payload: string } };
    return Buffer.from(dsseEnvelope.payload, "base64").toString();
  }
});
