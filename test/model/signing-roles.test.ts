import assert from "node:assert/strict";
import test from "node:test";
import {
  PREDICATE_COSIGN_SIGN,
  PREDICATE_CYCLONEDX,
  PREDICATE_SLSA_PROVENANCE,
} from "../../bundles/model/media-types.ts";
import { maySign, ROLES, SIGNING_RULES } from "../../bundles/model/signing-roles.ts";

test("only the builder signs images, their SBOMs and all provenance; every role signs the release", () => {
  const allowed: string[] = [];
  for (const role of ROLES) {
    for (const type of [
      PREDICATE_COSIGN_SIGN,
      PREDICATE_CYCLONEDX,
      PREDICATE_SLSA_PROVENANCE,
      "",
      "https://x.invalid",
    ]) {
      for (const subject of ["image", "release"] as const) {
        if (maySign(role, type, subject)) allowed.push(`${role} ${type} ${subject}`);
      }
    }
  }
  assert.deepEqual(allowed.sort(), [
    "builder https://cyclonedx.org/bom image",
    "builder https://sigstore.dev/cosign/sign/v1 image",
    "builder https://sigstore.dev/cosign/sign/v1 release",
    "builder https://slsa.dev/provenance/v1 image",
    "builder https://slsa.dev/provenance/v1 release",
    "release https://sigstore.dev/cosign/sign/v1 release",
    "security https://sigstore.dev/cosign/sign/v1 release",
  ]);
});

test("attestations exist only as Sigstore bundles, because a simple-signing payload carries no predicate", () => {
  for (const rule of SIGNING_RULES) {
    assert.equal(rule.forms.includes("simple-signing"), rule.predicateType === PREDICATE_COSIGN_SIGN, rule.type);
  }
});
