import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { CYCLONEDX_JSON } from "../../bundles/model/media-types.ts";
import type { Finding, Verdict } from "../../verify/verdict.ts";
import { judge } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigners, signAs, signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { type SmallRelease, smallRelease } from "../support/small-bundle.ts";

const signers = makeSigners();
const OURS = ["pkg:npm/a@1.0.0", "pkg:deb/debian/b@1.0?arch=amd64&distro=debian-13"];

interface Parts {
  readonly purls?: readonly string[];
  readonly more?: object;
  readonly name?: string;
  readonly bytes?: Buffer;
}

/** A vendor's document in the vendor's own layout, not ours. */
function vendorSbom({ purls = OURS, more = {} }: Parts): Buffer {
  const components = purls.map((purl) => ({ purl, type: "library", name: "x", "bom-ref": purl }));
  const metadata = {
    timestamp: "2026-01-02T03:04:05Z",
    component: { type: "container", name: "theirs", "bom-ref": "app" },
  };
  const document = { specVersion: "1.5", bomFormat: "CycloneDX", version: 1, metadata, components, ...more };
  return Buffer.from(JSON.stringify(document, null, 2));
}

function release(parts: Parts): SmallRelease {
  return smallRelease({
    images: [{ name: "app" }],
    files: [{ name: parts.name ?? "sbom-app", mediaType: CYCLONEDX_JSON, bytes: parts.bytes ?? vendorSbom(parts) }],
    sbom: (sbom) => ({
      ...sbom,
      components: OURS.map((purl) => ({ type: "library", name: "x", "bom-ref": purl, purl })),
    }),
  });
}

async function verdictOf(context: TestContext, bundle: ReturnType<typeof signedBundle>): Promise<Verdict> {
  const path = join(await scratch(context), "bundle");
  await writeSignedBundle(path, bundle);
  return judge(path, { trustFiles: bundle.trustFiles });
}

function about({ findings }: Verdict, name = "sbom-app"): Finding[] {
  return findings.filter(({ check, subject }) => check === "sbom" && subject === name);
}

test("a vendor's document that lists what ours lists is attested by the builder, and passes", async (context) => {
  const verdict = await verdictOf(context, signedBundle({ small: release({}), signers }));
  assert.equal(verdict.decision, "allow", JSON.stringify(verdict.findings.filter(({ status }) => status === "fail")));
  const [attested, compared] = about(verdict);
  assert.match(attested?.message ?? "", /signed by|bob-builder/);
  assert.match(compared?.message ?? "", /^2 packages as in ours, 0 of kinds .*the attestation alone binds it/);
});

const REFUSED: readonly (readonly [what: string, parts: Parts, code: string, message: RegExp])[] = [
  ["leaves a package out", { purls: OURS.slice(1) }, "SBOM_VENDOR_DIFFERS", /not in it: 1 \(pkg:npm\/a@1\.0\.0\)/],
  [
    "lists one that is not there",
    { purls: [...OURS, "pkg:npm/c@1.0.0"] },
    "SBOM_VENDOR_DIFFERS",
    /not in the image: 1 \(pkg:npm\/c/,
  ],
  ["lists another version", { purls: ["pkg:npm/a@2.0.0", OURS[1] as string] }, "SBOM_VENDOR_DIFFERS", /1 agree/],
  ["the schema refuses", { more: { serialNumber: "none" } }, "SBOM_VENDOR_INVALID", /schema at \/serialNumber/],
  ["refers to nothing", { more: { dependencies: [{ ref: "nowhere" }] } }, "SBOM_VENDOR_INVALID", /reference-dangling/],
  [
    "is about another image",
    {
      more: {
        metadata: {
          timestamp: "2026-01-02T03:04:05Z",
          component: { type: "container", name: "x", "bom-ref": "x", purl: `pkg:oci/x@sha256%3A${"0".repeat(64)}` },
        },
      },
    },
    "SBOM_VENDOR_FOREIGN",
    /another image/,
  ],
];

for (const [what, parts, code, message] of REFUSED) {
  test(`denies a vendor's document that ${what}`, async (context) => {
    const verdict = await verdictOf(context, signedBundle({ small: release(parts), signers }));
    assert.equal(verdict.decision, "deny");
    const wrong = about(verdict).filter(({ status }) => status === "fail");
    assert.deepEqual(
      wrong.map((one) => one.code),
      [code],
    );
    assert.match(wrong[0]?.message ?? "", message);
  });
}

test("denies a vendor's document that the builder attested with other contents", async (context) => {
  const bundle = signedBundle({ small: release({}), signers });
  // The same image; the builder looked at another document of the vendor's.
  const other = signedBundle({ small: release({ purls: [...OURS, "pkg:npm/c@1.0.0"] }), signers });
  const isAboutRelease = ({ subject }: { readonly subject: string }): boolean =>
    subject === bundle.small.release.descriptor.digest || subject === other.small.release.descriptor.digest;
  const objects = [
    ...bundle.objects.filter(isAboutRelease),
    ...other.objects.filter((object) => !isAboutRelease(object)),
  ];
  const verdict = await verdictOf(context, { ...bundle, objects });
  assert.equal(verdict.decision, "deny");
  assert.deepEqual(
    about(verdict).map(({ status, code }) => [status, code]),
    [
      ["fail", "SIGNATURE_OTHER_PREDICATE"],
      ["pass", ""],
    ],
  );
});

test("bundle sign refuses a vendor's document that is named for no image, is no JSON or says a thing twice", () => {
  const [builder] = signers.builder;
  assert.ok(builder);
  const signing = (parts: Parts) => () => signAs(release(parts), "builder", builder);
  assert.throws(signing({ name: "sbom-other" }), { code: "SBOM_VENDOR_IMAGE_UNKNOWN" });
  assert.throws(signing({ bytes: Buffer.from("{") }), { code: "SBOM_MALFORMED" });
  assert.throws(signing({ bytes: Buffer.from('{"bomFormat":"CycloneDX","bomFormat":"x"}') }), {
    code: "SBOM_MALFORMED",
  });
});
