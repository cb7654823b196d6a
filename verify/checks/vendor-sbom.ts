/**
 * `sbom`, of a vendor's own document that the release carries: it is valid CycloneDX, about this image, attested by the
 * builder for it, and lists the packages that ours lists. Loaded only where there is one (ADR 0036).
 */
import { type BundleRelease, DOCUMENT_MAX_BYTES } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { PREDICATE_CYCLONEDX } from "../../bundles/model/media-types.ts";
import { compareSboms, type SbomComparison } from "../../sbom/compare.ts";
import { parseSbom } from "../../sbom/document.ts";
import { validateSbom } from "../../sbom/validate.ts";
import { type VendorSbom, vendorSboms } from "../../sbom/vendor-sbom.ts";
import type { Trust } from "../trust/trust.ts";
import { type Finding, failed, passed } from "../verdict.ts";
import { checkDemand, type Signed } from "./signatures.ts";

/** Of each list of packages; `sealift sbom compare` has all of them. */
const SHOWN = 10;

/** @throws SBOM_VENDOR_IMAGE_UNKNOWN | SBOM_MALFORMED and what reading by digest throws */
export async function checkVendorSboms(
  layout: Layout,
  release: BundleRelease,
  signed: readonly Signed[],
  trust: Trust,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const vendor of vendorSboms(layout, release)) {
    findings.push(attested(vendor, signed, trust), await judged(layout, vendor));
  }
  return findings;
}

function attested({ name, image, canonical }: VendorSbom, signed: readonly Signed[], trust: Trust): Finding {
  const demand = { check: "sbom", name, subject: image.digest, role: "builder" } as const;
  return checkDemand({ ...demand, predicateType: PREDICATE_CYCLONEDX, predicate: digestOf(canonical) }, signed, trust);
}

async function judged(layout: Layout, { name, image, bytes }: VendorSbom): Promise<Finding> {
  const { document, problems } = await validateSbom(bytes);
  const [problem] = problems;
  if (problem) {
    const what = `${problem.rule} at ${problem.pointer || "/"}: ${problem.message}`;
    return failed("sbom", name, "SBOM_VENDOR_INVALID", `${problems.length} problems, the first: ${what}`);
  }
  const own = parseSbom(layout.read(image.sbom, DOCUMENT_MAX_BYTES));
  const comparison = compareSboms(document, own, image.digest);
  if (comparison.subject === "another-image") {
    return failed("sbom", name, "SBOM_VENDOR_FOREIGN", `it names another image than ${image.name}, ${image.digest}`);
  }
  const { missing, unfound } = comparison;
  if (missing.length > 0 || unfound.length > 0) {
    return failed("sbom", name, "SBOM_VENDOR_DIFFERS", differences(comparison));
  }
  const named = comparison.subject === "unnamed" ? "; it names no image, so the attestation alone binds it" : "";
  const { matched, notChecked } = comparison;
  return passed(
    "sbom",
    name,
    `${matched} packages as in ours, ${notChecked.length} of kinds that are not compared${named}`,
  );
}

function differences({ missing, unfound, matched, notChecked }: SbomComparison): string {
  const some = (names: readonly string[]): string =>
    names.length === 0
      ? ""
      : ` (${names.slice(0, SHOWN).join(", ")}${names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ""})`;
  return (
    `in the image and not in it: ${missing.length}${some(missing)}; in it and not in the image: ` +
    `${unfound.length}${some(unfound)}; ${matched} agree, ${notChecked.length} not compared`
  );
}
