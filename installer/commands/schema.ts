import { applianceFileSchema, applianceLockSchema } from "../../bundles/model/appliance.ts";
import { releaseManifestSchema } from "../../bundles/model/release-manifest.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { recipeSchema } from "../../bundles/source/recipe/recipe.ts";
import { inventorySchema } from "../../bundles/transfer/inventory.ts";
import { licencePolicySchema } from "../../sbom/licence/evaluate.ts";
import { scanPolicySchema } from "../../sbom/scan/scan-policy.ts";
import { waiversSchema } from "../../sbom/scan/waiver.ts";
import { attestationPolicySchema } from "../../verify/attestation/attestation-policy.ts";
import { attestationVerdictSchema } from "../../verify/attestation/attestation-verdict.ts";
import { challengeSchema } from "../../verify/attestation/challenge.ts";
import { collateralStatementSchema } from "../../verify/attestation/collateral-kit.ts";
import { collateralRequestSchema } from "../../verify/attestation/collateral-request.ts";
import { collectedEvidenceSchema } from "../../verify/attestation/evidence.ts";
import { receiptSchema } from "../../verify/attestation/release-file.ts";
import { tdxPolicySchema } from "../../verify/attestation/tdx-policy.ts";
import { verdictSchema } from "../../verify/cage/protocol.ts";
import { policySchema } from "../../verify/policy.ts";
import { type Command, positionals, usageError } from "./command.ts";

const SCHEMAS: Readonly<Record<string, JsonSchema>> = {
  appliance: applianceFileSchema,
  "attestation-challenge": challengeSchema,
  "attestation-evidence": collectedEvidenceSchema,
  "attestation-policy": attestationPolicySchema,
  "attestation-policy-tdx": tdxPolicySchema,
  "attestation-receipt": receiptSchema,
  "attestation-verdict": attestationVerdictSchema,
  collateral: collateralStatementSchema,
  "collateral-needs": collateralRequestSchema,
  inventory: inventorySchema,
  "licence-policy": licencePolicySchema,
  lock: applianceLockSchema,
  policy: policySchema,
  recipe: recipeSchema,
  release: releaseManifestSchema,
  "scan-policy": scanPolicySchema,
  verdict: verdictSchema,
  waivers: waiversSchema,
};

export const schema: Command = {
  name: "schema",
  summary: "print the JSON Schema of a document that Sealift reads or writes",
  usage: Object.keys(SCHEMAS).join("|"),
  options: {},
  run: async (invocation) => {
    const [name = ""] = positionals(invocation, "schema", "NAME");
    const found = SCHEMAS[name];
    if (!found)
      throw usageError("schema", `got ${JSON.stringify(name)}, want one of ${Object.keys(SCHEMAS).join(", ")}`);
    process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
    return 0;
  },
};
