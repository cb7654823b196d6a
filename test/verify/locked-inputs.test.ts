import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { hexOf } from "../../bundles/model/digest.ts";
import type { Policy } from "../../verify/policy.ts";
import { judge, wrongCodes } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";

test("a policy can demand that the release's lock accounts for every input of a build but the sources", async (t) => {
  const { images } = smallRelease().release.manifest;
  const [locked = ""] = images.map(({ digest }) => hexOf(digest));
  const source = { uri: "compose/images/a.json", digest: { sha256: "a".repeat(64) } };
  const stranger = { uri: "compose-evil/a.tar", digest: { sha256: "b".repeat(64) } };
  const path = join(await scratch(t), "bundle");
  const withInputs = async (inputs: readonly object[], policy: Partial<Policy>) => {
    const small = smallRelease({
      provenance: (value) => ({
        ...value,
        buildDefinition: { ...(value["buildDefinition"] as object), resolvedDependencies: inputs },
      }),
    });
    const bundle = signedBundle({ small });
    await writeSignedBundle(path, bundle);
    const verdict = await judge(path, { ...bundle, policy });
    const said = verdict.findings.find(({ check, status }) => check === "provenance" && status === "pass");
    return { codes: wrongCodes(verdict), said: said?.message ?? "" };
  };
  const fromLock = { uri: "oci:a", digest: { sha256: locked } };
  const all = await withInputs([fromLock, source], { unlockedInputs: ["compose/"] });
  assert.deepEqual(all.codes, []);
  assert.match(all.said, /SLSA Build L1: .* from 2 inputs, each with a digest, 1 of them in the release's lock$/);
  assert.deepEqual((await withInputs([fromLock], { unlockedInputs: [] })).codes, []);
  assert.deepEqual((await withInputs([fromLock, source], { unlockedInputs: [] })).codes, ["PROVENANCE_UNLOCKED_INPUT"]);
  const evil = await withInputs([fromLock, source, stranger], { unlockedInputs: ["compose/"] });
  assert.deepEqual(evil.codes, ["PROVENANCE_UNLOCKED_INPUT"]);
  assert.deepEqual((await withInputs([source, stranger], {})).codes, []);
});
