import assert from "node:assert/strict";
import test from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import {
  applianceFileSchema,
  applianceLockSchema,
  checkApplianceFile,
  checkApplianceLock,
} from "../../bundles/model/appliance.ts";
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { plain, plainJson } from "../../bundles/model/plain-text.ts";
import { parseReleaseManifest, releaseManifestSchema } from "../../bundles/model/release-manifest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { DEFAULT_POLICY, parsePolicy, policySchema } from "../../verify/policy.ts";
import { Dice, editJson, mutantSeed } from "../support/mutants.ts";
import { smallRelease } from "../support/small-bundle.ts";

const small = smallRelease();
const documentOf = (digest: keyof typeof small.release.manifest): unknown =>
  JSON.parse((small.blobs.get(small.release.manifest[digest] as never) as Buffer).toString("utf8"));

interface Published {
  readonly schema: JsonSchema;
  readonly valid: unknown;
  readonly parse: (bytes: Buffer) => unknown;
  readonly code: string;
  /** What the parser also demands, and no JSON Schema can say. */
  readonly beyond?: RegExp;
}

const published: Readonly<Record<string, Published>> = {
  release: {
    schema: releaseManifestSchema,
    valid: small.release.manifest,
    parse: parseReleaseManifest,
    code: "RELEASE_MALFORMED",
    beyond: /one name|sorted by name/,
  },
  appliance: {
    schema: applianceFileSchema,
    valid: {
      ...(documentOf("applianceFile") as object),
      requires: { sealift: "1.0.0", trust: 1 },
      files: { model: { path: "m", mediaType: "a/b" } },
      publisher: { name: "Bücher & Söhne", email: "sbom@example.org", url: "https://example.org/" },
    },
    parse: (bytes) => checkApplianceFile(JSON.parse(bytes.toString("utf8"))),
    code: "APPLIANCE_MALFORMED",
  },
  lock: {
    schema: applianceLockSchema,
    valid: documentOf("lock"),
    parse: (bytes) => checkApplianceLock(JSON.parse(bytes.toString("utf8"))),
    code: "LOCK_MALFORMED",
  },
  policy: {
    schema: policySchema,
    valid: { ...DEFAULT_POLICY, appliance: "demo", channels: ["stable"], minimumVersion: "1.0.0", builders: ["b"] },
    parse: parsePolicy,
    code: "POLICY_MALFORMED",
  },
};

for (const [name, { schema, valid, parse, code, beyond }] of Object.entries(published)) {
  test(`the parser of a ${name} accepts what its published schema accepts, and nothing else`, (t) => {
    const seed = mutantSeed();
    t.diagnostic(`SEALIFT_SEED=${seed}`);
    // As somebody else would use the schema: another instance, other settings.
    const accepts = new Ajv2020({ strict: false, allErrors: true }).compile(schema);
    assert.ok(accepts(valid));
    parse(canonicalJson(valid));
    const seen = { accepted: 0, refused: 0 };
    for (let i = 0; i < 500; i += 1) {
      let { bytes, what } = editJson(canonicalJson(valid), new Dice(seed + i));
      if (parseCanonicalJson(bytes) === undefined) continue;
      if (i % 3 === 0) ({ bytes, what } = editJson(bytes, new Dice(seed - i - 1)));
      if (parseCanonicalJson(bytes) === undefined) continue;
      const right = accepts(JSON.parse(bytes.toString("utf8")));
      let refusal: unknown;
      try {
        parse(bytes);
      } catch (cause) {
        refusal = cause;
      }
      const where = `SEALIFT_SEED=${seed}, ${i}: ${what}`;
      if (refusal !== undefined) {
        assert.ok(refusal instanceof SealiftError, where);
        assert.equal(refusal.code, code, where);
      }
      if (right) assert.ok(refusal === undefined || beyond?.test((refusal as Error).message), where);
      else assert.ok(refusal, where);
      seen[refusal === undefined ? "accepted" : "refused"] += 1;
    }
    assert.ok(seen.refused > 50, "most edits break something");
    t.diagnostic(`${seen.accepted} accepted, ${seen.refused} refused`);
  });
}

test("JSON nested too deep is a problem, not a crash", () => {
  const nest = (levels: number): unknown => JSON.parse("[".repeat(levels) + "]".repeat(levels));
  assert.equal(schemaProblem({ type: "array" }, nest(120)), undefined);
  assert.match(schemaProblem({ type: "array" }, nest(140)) ?? "", /deeper/);
  assert.match(schemaProblem({ type: "array" }, nest(200_000)) ?? "", /deeper/);
});

test("half a surrogate pair is refused in any string and name: it has no canonical form, and no two programs agree on it", () => {
  const problem = (json: string) => schemaProblem({ type: "object" }, JSON.parse(json)) ?? "";
  assert.equal(problem('{"a":["\\ud83d\\ude00"]}'), "");
  for (const json of ['{"a":["\\ud83d"]}', '{"a":{"\\ude00":1}}', '{"a":"\\ude00\\ud83d"}']) {
    assert.match(problem(json), /no Unicode text/, json);
  }
});

test("refuses versions that semver cannot compare", () => {
  const withVersion = (version: string): Buffer => canonicalJson({ ...small.release.manifest, version });
  assert.throws(() => parseReleaseManifest(withVersion("1.0.9007199254740993")), { code: "RELEASE_MALFORMED" });
  assert.throws(() => parseReleaseManifest(withVersion(`1.0.0-${"a".repeat(100)}`)), { code: "RELEASE_MALFORMED" });
  assert.equal(parseReleaseManifest(withVersion("1.0.999999999999999")).version, "1.0.999999999999999");
});

test("canonical JSON refuses every other spelling of a value", () => {
  assert.deepEqual(parseCanonicalJson(Buffer.from('{"a":1,"b":[]}')), { a: 1, b: [] });
  for (const text of [
    '{"b":[],"a":1}',
    '{"a":1,"a":1}',
    '{"a":1.0}',
    '{"a": 1}',
    '{"a":1}\n',
    '\ufeff{"a":1}',
    '{"a":"\\u0041"}',
    "{",
    "",
  ]) {
    assert.equal(parseCanonicalJson(Buffer.from(text)), undefined, text);
  }
  assert.equal(parseCanonicalJson(Buffer.from([0x22, 0xff, 0x22])), undefined);
});

test("plain text and plain JSON hold nothing that acts on a terminal, and JSON stays the same value", () => {
  const nasty = `a\u001b[2J\u009b\u202e\u2028${String.fromCharCode(0xd800)}\u{e0041}\u{f0000}\u200dé漢`;
  const acts = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/u;
  assert.doesNotMatch(plain(nasty), acts);
  assert.match(plain(nasty), /é漢$/);
  const value = { [nasty]: [nasty, { deep: nasty }] };
  assert.doesNotMatch(plainJson(value, 0), acts);
  assert.deepEqual(JSON.parse(plainJson(value)), value);
});
