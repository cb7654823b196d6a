import assert from "node:assert/strict";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { ReleaseImage } from "../../bundles/model/release-manifest.ts";
import { type ReleaseDocuments, softwareChange, softwareLines } from "../../installer/lifecycle/software-change.ts";
import { sbomWith } from "../support/scan-inputs.ts";
import { coded } from "../support/test-trust.ts";

interface Image {
  readonly sbom: Buffer;
  /** Of the image; that of its SBOM if not given. */
  readonly digest?: Digest;
}

function release(images: Readonly<Record<string, Image>>): ReleaseDocuments {
  const byDigest = new Map(Object.values(images).map(({ sbom }) => [digestOf(sbom), sbom]));
  return {
    layout: { read: (digest) => byDigest.get(digest) as Buffer },
    release: {
      manifest: {
        images: Object.entries(images).map(([name, { sbom, digest = digestOf(sbom) }]) => {
          return { name, digest, platform: "linux/amd64", sbom: digestOf(sbom), provenance: digestOf("") };
        }) satisfies ReleaseImage[],
      } as never,
    },
  };
}

function lines(older: Readonly<Record<string, Image>>, newer: Readonly<Record<string, Image>>): string[] {
  return softwareLines(softwareChange(release(older), release(newer)));
}

const UNCHECKED = "vulnerabilities fixed and new: not checked: no vulnerability snapshot";

test("the plan tells each package that comes, goes and changes, the worst first, and what was not checked", () => {
  const before = ["pkg:npm/up@1.0.0", "pkg:npm/down@2.0.0", "pkg:npm/gone@1.0.0", "pkg:npm/same@1.0.0"];
  const after = ["pkg:npm/up@1.1.0", "pkg:npm/down@1.0.0", "pkg:npm/new@1.0.0", "pkg:npm/same@1.0.0"];
  assert.deepEqual(lines({ app: { sbom: sbomWith(before) } }, { app: { sbom: sbomWith(after) } }), [
    "software of app: 1 downgraded, 1 removed, 1 added, 1 upgraded, 1 unchanged",
    "software of app: downgraded pkg:npm/down 2.0.0 -> 1.0.0",
    "software of app: removed pkg:npm/gone 1.0.0",
    "software of app: added pkg:npm/new 1.0.0",
    "software of app: upgraded pkg:npm/up 1.0.0 -> 1.1.0",
    UNCHECKED,
  ]);
});

test("the same version with other bytes is an alarm before everything else", () => {
  const jar = (content: string) => ({
    sbom: sbomWith([], {
      components: [
        {
          type: "library",
          name: "a",
          purl: "pkg:maven/g/a@1.0",
          hashes: [{ alg: "SHA-512", content }],
        },
      ],
    }),
  });
  const [first, , second] = lines({ app: jar("aa") }, { app: jar("bb") });
  assert.match(first ?? "", /^ALARM: 1 packages/);
  assert.equal(second, "software of app: SAME VERSION, OTHER BYTES pkg:maven/g/a 1.0: SHA-512:aa -> SHA-512:bb");
});

test("an image that comes or goes is one line, also where each release has a single one", () => {
  const app = { sbom: sbomWith(["pkg:npm/a@1.0.0", "pkg:npm/b@1.0.0"]) };
  assert.deepEqual(lines({ app }, { other: app }), [
    "software of app: image removed, 2 packages",
    "software of other: image added, 2 packages",
    UNCHECKED,
  ]);
});

test("an image that stayed digest for digest changed nothing, whatever its newer SBOM lists more", () => {
  const digest = digestOf("image");
  const older = { app: { digest, sbom: sbomWith(["pkg:npm/a@1.0.0"]) } };
  const newer = { app: { digest, sbom: sbomWith(["pkg:npm/a@1.0.0", "pkg:npm/b@1.0.0"]) } };
  assert.deepEqual(lines(older, newer), ["software: the same packages in every image", UNCHECKED]);
});

test("many and long changes stay within what a request may hold, and come out the same each time", () => {
  const long = "x".repeat(2000);
  const purls = Array.from({ length: 3000 }, (_, i) => `pkg:npm/${long}${i}@1.0.0`);
  const newer = { app: { sbom: sbomWith(["pkg:npm/keep@1.0.0", ...purls]) } };
  const older = { app: { sbom: sbomWith(["pkg:npm/keep@1.0.0"]) } };
  const found = lines(older, newer);
  assert.equal(found.length, 202);
  assert.match(found.at(-2) ?? "", /^software: 2801 more lines/);
  assert.ok(Buffer.byteLength(found.join("")) < 100_000);
  assert.deepEqual(lines(older, newer), found);
});

test("half a surrogate pair in a licence does not break what is signed", () => {
  const licensed = (name: string) => ({
    sbom: sbomWith([], {
      components: [{ type: "library", name: "a", purl: "pkg:npm/a@1.0.0", licenses: [{ license: { name } }] }],
    }),
  });
  const found = lines({ app: licensed("\ud800 one") }, { app: licensed(`two${"\u{1f600}".repeat(300)}`) });
  assert.match(found[1] ?? "", /licence-changed/);
  assert.doesNotThrow(() => canonicalJson(found));
});

test("an SBOM of the running release that cannot be read stops the plan", () => {
  const app = { sbom: sbomWith(["pkg:npm/a@1.0.0"]) };
  const broken = { app: { sbom: Buffer.from("{") } };
  assert.throws(() => softwareChange(release(broken), release({ app })), coded("SBOM_MALFORMED"));
});
