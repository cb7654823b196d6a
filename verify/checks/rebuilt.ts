/**
 * `rebuilt`: as many independent rebuilders as the policy asks have signed that they built the same manifest digest
 * (bundles/sign/rebuild.ts). The only answer to a build machine that somebody else controls.
 *
 * Independent is who has neither a key nor the name of anybody in the release trust. That they really built, on
 * another machine, is their word. A statement that does not count denies nothing by itself: it is beside the bundle.
 */
import type { Digest } from "../../bundles/model/digest.ts";
import { PREDICATE_SLSA_PROVENANCE } from "../../bundles/model/media-types.ts";
import { REBUILD_TYPE } from "../../bundles/model/rebuild.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { verifyError } from "../error.ts";
import { type Policy, policyKey } from "../policy.ts";
import { claimedPredicateType, verifySigstoreBundle } from "../signature/signature.ts";
import type { Trust, TrustKey } from "../trust/trust.ts";
import { type Finding, failed, notChecked, passed } from "../verdict.ts";
import { requireNotRevoked } from "./revocation.ts";

const rebuildSchema: JsonSchema = {
  type: "object",
  required: ["buildDefinition", "runDetails"],
  properties: {
    buildDefinition: { type: "object", required: ["buildType"], properties: { buildType: { const: REBUILD_TYPE } } },
    runDetails: {
      type: "object",
      required: ["builder"],
      properties: {
        builder: {
          type: "object",
          required: ["id"],
          properties: { id: { type: "string", minLength: 1, maxLength: 1024 } },
        },
      },
    },
  },
};

export interface RebuildQuestion {
  readonly release: Digest;
  readonly policy: Policy;
  readonly trust: Trust;
  /** Sigstore bundles beside the bundle, of any kind. */
  readonly statements: readonly Buffer[];
}

export function checkRebuilt({ release, policy, trust, statements }: RebuildQuestion): Finding {
  const { rebuilds: demand } = policy;
  if (demand === undefined) {
    const hint = "`sealift bundle rebuild` makes one";
    return notChecked("rebuilt", "release", `the policy demands no independent rebuild; ${hint}`);
  }
  const rebuilders = demand.rebuilders.map(policyKey);
  const signers = [...trust.roles].flatMap(([role, { keys }]) => keys.map((key) => ({ role, key })));
  const reused = signers.find(({ key }) =>
    rebuilders.some((one) => one.fingerprint === key.fingerprint || one.holder === key.holder),
  );
  if (reused) {
    const what = `a rebuilder of the policy has the key or the name of a ${reused.role}`;
    return failed("rebuilt", "release", "REBUILDER_NOT_INDEPENDENT", what);
  }
  const holders = new Map<string, string>();
  const others: string[] = [];
  for (const bundle of statements) {
    if (claimedPredicateType(bundle) !== PREDICATE_SLSA_PROVENANCE) continue;
    try {
      const { holder, builder } = rebuiltBy(bundle, rebuilders, release, trust);
      holders.set(holder, builder);
    } catch (cause) {
      const code = cause instanceof SealiftError ? cause.code : "SIGNATURE_MALFORMED";
      others.push(`[${code}] ${reasonOf(cause)}`);
    }
  }
  const names = [...holders].sort().map(([holder, builder]) => `${holder} (${builder})`);
  const odd = others.length === 0 ? "" : `; not counted: ${others.join("; ")}`;
  const have = `${holders.size} of ${demand.threshold} independent rebuilds: ${names.join(", ") || "nobody"}${odd}`;
  return holders.size >= demand.threshold
    ? passed("rebuilt", "release", `${have}; came to the same digest, for which SLSA has no level`)
    : failed("rebuilt", "release", "REBUILD_MISSING", `got ${have}`);
}

/** @throws SealiftError */
function rebuiltBy(
  bundle: Buffer,
  rebuilders: readonly TrustKey[],
  release: Digest,
  trust: Trust,
): { readonly holder: string; readonly builder: string } {
  const { holder, keyFingerprint, statement } = verifySigstoreBundle(bundle, rebuilders);
  requireNotRevoked(trust, holder, keyFingerprint);
  const refuse = (what: string): never => {
    throw verifyError("REBUILD_OTHER", `${holder} rebuilt ${what}`);
  };
  if (statement.subject !== release) refuse(`${statement.subject}, not this release`);
  if (statement.predicateType !== PREDICATE_SLSA_PROVENANCE) {
    refuse(`nothing: the statement is ${JSON.stringify(statement.predicateType)}`);
  }
  const problem = schemaProblem(rebuildSchema, statement.predicate);
  if (problem !== undefined) refuse(`nothing: ${problem}`);
  const { runDetails } = statement.predicate as { runDetails: { builder: { id: string } } };
  return { holder, builder: runDetails.builder.id };
}
