/**
 * Part of check `provenance`: what the builders say of the release as a whole (bundles/model/release-provenance.ts).
 * Each statement must name every part of the release as an input, by digest, and each input that it names must be
 * accounted for: a part of the release, in its lock, or the builder's own program. So a reviewer who follows the
 * inputs ends at the lock, the sources and Sealift itself, and nowhere else.
 *
 * That the builder's program was really these files is the builder's word; `bundle rebuild` is the answer to that.
 */
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { hexOf, isDigest } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import type { ReleaseManifest } from "../../bundles/model/release-manifest.ts";
import {
  OWN_SOURCE,
  PROVENANCE_ANNOTATION,
  RELEASE_BUILD_TYPE,
  type ReleaseInput,
  releaseInputs,
  releaseParameters,
} from "../../bundles/model/release-provenance.ts";
import type { Policy } from "../policy.ts";
import type { VerdictProvenance } from "../verdict.ts";
import {
  acceptedProvenance,
  builderRefusal,
  type Dependency,
  isLocked,
  type Provenance,
  type ProvenanceOutcome,
  provenanceProblem,
  refusedProvenance,
} from "./provenance-shape.ts";
import type { Signed } from "./signatures.ts";

const NAME = "release";
const COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

export interface ReleaseProvenanceQuestion {
  readonly release: ReleaseManifest;
  readonly policy: Policy;
  /** What the lock names (locked-inputs.ts). */
  readonly locked: ReadonlySet<string>;
  /** The provenance of the images, as far as it holds. */
  readonly images: readonly VerdictProvenance[];
  /** Of the builder role; each with what was said. Whether there are enough is `checkDemand`'s to say. */
  readonly statements: readonly Signed[];
}

/** One outcome for each statement: every one must be true, however many were needed. */
export function checkReleaseProvenance(question: ReleaseProvenanceQuestion): ProvenanceOutcome[] {
  return question.statements.map((signed) => judge(question, signed));
}

function judge(question: ReleaseProvenanceQuestion, { said, subject, key }: Signed): ProvenanceOutcome {
  const { release, policy, locked, images } = question;
  const by = `${key.holder}'s provenance of the release`;
  const refuse = (code: string, what: string): ProvenanceOutcome => refusedProvenance(NAME, code, `${by}: ${what}`);
  const problem = provenanceProblem(said);
  if (problem !== undefined) return refuse("PROVENANCE_MALFORMED", problem);
  const provenance = said as Provenance;
  const { buildType, externalParameters, resolvedDependencies: inputs } = provenance.buildDefinition;
  const { id } = provenance.runDetails.builder;
  if (buildType !== RELEASE_BUILD_TYPE) {
    return refuse("PROVENANCE_FOREIGN_BUILD_TYPE", `got ${JSON.stringify(buildType)}, want ${RELEASE_BUILD_TYPE}`);
  }
  const refused = builderRefusal(NAME, provenance, policy);
  if (refused) return refused;
  const other = images.find(({ builder }) => builder !== id);
  if (other) {
    const what = `built by ${JSON.stringify(id)}, but image ${other.name} by ${JSON.stringify(other.builder)}`;
    return refuse("PROVENANCE_FOREIGN_BUILDER", what);
  }
  if (!canonicalJson(externalParameters).equals(canonicalJson(releaseParameters(release)))) {
    return refuse("PROVENANCE_OTHER_RELEASE", "its parameters are not those of this release");
  }
  const parts = new Map(releaseInputs(release).map((part) => [part.uri, part]));
  const isPart = (input: Dependency): boolean => names(input, parts.get(input.uri));
  const own = inputs.filter(isPart).map(({ uri }) => uri);
  const named = new Set(own);
  const missing = [...parts.values()].find(({ uri }) => !named.has(uri));
  if (missing) {
    return refuse("PROVENANCE_INPUT_MISSING", `${missing.uri}, ${missing.digest}, is not among its inputs`);
  }
  if (own.length > named.size) {
    return refuse("PROVENANCE_UNACCOUNTED_INPUT", "a part of the release is there twice");
  }
  const programs = inputs.filter(({ uri }) => uri.startsWith(OWN_SOURCE));
  const [source] = programs;
  if (source === undefined || programs.length > 1) {
    return refuse(
      "PROVENANCE_INPUT_MISSING",
      `got ${programs.length} inputs ${OWN_SOURCE}…, want 1: the builder's program`,
    );
  }
  const isAccounted = (input: Dependency): boolean => input === source || isPart(input) || isLocked(input, locked);
  const stray = inputs.find((input) => !isAccounted(input));
  if (stray) {
    const what = `input ${JSON.stringify(stray.uri)} is neither a part of the release nor in its lock`;
    return refuse("PROVENANCE_UNACCOUNTED_INPUT", what);
  }
  const program = sourceOf(source);
  if (!program) return refuse("PROVENANCE_WEAK_DIGEST", `the builder's program ${source.uri} has no SHA-256`);
  const { digest, commit } = program;
  const accepted = policy.builderSources;
  if (accepted && !accepted.includes(digest) && !(commit !== null && accepted.includes(commit))) {
    const what = `the builder's program ${digest}, commit ${commit ?? "unknown"}, is none that the policy accepts`;
    return refuse("PROVENANCE_FOREIGN_BUILDER_SOURCE", what);
  }
  const made = { name: NAME, subject, builder: id, buildType, inputs: inputs.length, source: program };
  const what = `${images.length} images, ${release.files.length} files and 4 documents, each an input by digest`;
  const built = `${id} (program ${digest}${commit === null ? "" : `, commit ${commit}`})`;
  return acceptedProvenance(
    { ...made, locked: inputs.length },
    `${plain(key.holder)} says: built by ${built} from ${what}`,
  );
}

/** Whether `input` is this part of the release, and of an image says with which provenance. */
function names(input: Dependency, part: ReleaseInput | undefined): boolean {
  return (
    part !== undefined &&
    Object.keys(input.digest).join() === "sha256" &&
    input.digest["sha256"] === hexOf(part.digest) &&
    input.annotations?.[PROVENANCE_ANNOTATION] === part.provenance
  );
}

/** Undefined if it is named by anything but SHA-256. */
function sourceOf({ digest }: Dependency): VerdictProvenance["source"] | undefined {
  const { sha256, gitCommit } = digest;
  if (typeof sha256 !== "string" || !isDigest(`sha256:${sha256}`)) return undefined;
  const isCommit = typeof gitCommit === "string" && COMMIT.test(gitCommit);
  return { digest: `sha256:${sha256}`, commit: isCommit ? gitCommit : null };
}
