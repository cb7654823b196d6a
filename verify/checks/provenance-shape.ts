/** What every SLSA provenance v1 must have, an image's and a release's, and what the verdict says of one that holds. */
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { schemaProblem } from "../../bundles/model/schema.ts";
import type { Policy } from "../policy.ts";
import { bounded, type Finding, failed, passed, type VerdictProvenance } from "../verdict.ts";

export interface Dependency {
  readonly uri: string;
  readonly digest: Readonly<Record<string, unknown>>;
  readonly annotations?: Readonly<Record<string, unknown>>;
}

export interface Provenance {
  readonly buildDefinition: {
    readonly buildType: string;
    readonly externalParameters: Readonly<Record<string, unknown>>;
    readonly resolvedDependencies: readonly Dependency[];
  };
  readonly runDetails: { readonly builder: { readonly id: string } };
}

const provenanceSchema: JsonSchema = {
  type: "object",
  required: ["buildDefinition", "runDetails"],
  properties: {
    buildDefinition: {
      type: "object",
      required: ["buildType", "externalParameters", "resolvedDependencies"],
      properties: {
        buildType: { type: "string", minLength: 1 },
        externalParameters: { type: "object" },
        resolvedDependencies: {
          type: "array",
          items: {
            type: "object",
            required: ["uri", "digest"],
            properties: {
              uri: { type: "string" },
              digest: { type: "object", minProperties: 1 },
              annotations: { type: "object" },
            },
          },
        },
      },
    },
    runDetails: {
      type: "object",
      required: ["builder"],
      properties: {
        builder: { type: "object", required: ["id"], properties: { id: { type: "string", minLength: 1 } } },
      },
    },
  },
};

/** What is wrong with its shape, if anything; `undefined` is not canonical JSON. */
export function provenanceProblem(value: unknown): string | undefined {
  return value === undefined ? "not canonical JSON (RFC 8785)" : schemaProblem(provenanceSchema, value);
}

/** Hexadecimal digits of the digests that say which bytes went in; md5, sha1 and git's say it no more. */
const STRONG_DIGESTS: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };

function strongDigests({ digest }: Dependency): string[] {
  return Object.entries(STRONG_DIGESTS).flatMap(([name, length]) => {
    const value = digest[name];
    return typeof value === "string" && value.length === length && /^[0-9a-f]+$/.test(value) ? [value] : [];
  });
}

/** Whether the lock names it: by each strong digest that it has, or one could be of other bytes. */
export function isLocked(input: Dependency, locked: ReadonlySet<string>): boolean {
  const digests = strongDigests(input);
  return digests.length > 0 && digests.every((hex) => locked.has(hex));
}

/**
 * Whether `uri` is `accepted` or below it. Only at the end of a component, or `https://example.com` would accept
 * `https://example.com.evil.example` and `https://example.com@evil.example`; and never with dots that lead elsewhere.
 */
export function isBelow(uri: string, accepted: string): boolean {
  if (!uri.startsWith(accepted) || /(?:^|[/\\:])(?:\.|%2e){1,2}(?:[/\\?#]|$)/i.test(uri)) return false;
  const next = uri[accepted.length];
  return (
    next === undefined ||
    /[/:@=?#]$/.test(accepted) ||
    /[/?#]/.test(next) ||
    (next === "@" && accepted.startsWith("pkg:"))
  );
}

/** An outcome: a finding, and if it passed what the verdict says of the provenance. */
export interface ProvenanceOutcome {
  readonly finding: Finding;
  readonly made?: VerdictProvenance;
}

export function refusedProvenance(name: string, code: string, what: string): ProvenanceOutcome {
  return { finding: failed("provenance", name, code, what) };
}

/** The refusal of a builder or an input that no policy may accept, or that this one does not. Undefined if there is none. */
export function builderRefusal(name: string, provenance: Provenance, policy: Policy): ProvenanceOutcome | undefined {
  const { id } = provenance.runDetails.builder;
  if (policy.builders !== undefined && !policy.builders.includes(id)) {
    const what = `${name} was built by ${JSON.stringify(id)}, which the policy does not accept`;
    return refusedProvenance(name, "PROVENANCE_FOREIGN_BUILDER", what);
  }
  const weak = provenance.buildDefinition.resolvedDependencies.find((input) => strongDigests(input).length === 0);
  if (weak === undefined) return undefined;
  const what = `${name}: input ${JSON.stringify(weak.uri)} has no SHA-256 or stronger`;
  return refusedProvenance(name, "PROVENANCE_WEAK_DIGEST", what);
}

/** As far as the evidence goes: a key or a certificate of the builder role shows no build platform. */
const LEVEL_REASON =
  "L2 asks for a hosted build platform that signs by itself, L3 for one that its users cannot influence; " +
  "a signature of the builder role shows neither";

export function acceptedProvenance(
  made: Omit<VerdictProvenance, "slsaBuildLevel" | "levelReason">,
  said: string,
): ProvenanceOutcome {
  const texts = { builder: bounded(made.builder), buildType: bounded(made.buildType) };
  return {
    finding: passed("provenance", made.name, `SLSA Build L1: ${said}`),
    made: { ...made, ...texts, slsaBuildLevel: 1, levelReason: LEVEL_REASON },
  };
}
