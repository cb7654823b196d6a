/**
 * The next version of a release trust: keys that come and go, what is taken back, and new expiry dates. The
 * old keys sign for the new ones, so a site follows by itself; nothing that is published is ever changed.
 */
import type { Key, Root, Targets } from "@tufjs/models";
import { IDENTITY_KEY_TYPE, TRUSTED_ROOT_TARGET } from "../model/certificate-identity.ts";
import { plain } from "../model/plain-text.ts";
import { keyFingerprint, parsePublicKey } from "../model/public-key.ts";
import {
  NO_REVOCATIONS,
  REVOCATION_KINDS,
  REVOCATION_PATTERNS,
  REVOCATION_REASON_MAX_LENGTH,
  REVOKED_MEMBER,
  type Revocation,
  type RevocationKind,
  type Revocations,
  revocationOf,
  revocationsSchema,
} from "../model/revocations.ts";
import { schemaProblem } from "../model/schema.ts";
import { ROLES, type Role } from "../model/signing-roles.ts";
import { signError } from "./error.ts";
import {
  type AnyMetadata,
  fingerprintOf,
  HOLDER_MEMBER,
  type KeyHolder,
  lintTrustPlan,
  type RoleHolder,
  renderFreshness,
  renderRoot,
  renderTargets,
  signingState,
  type TrustedRootTarget,
  type TrustPlan,
} from "./trust-metadata.ts";

/** What changes; what is not said stays. */
export interface TrustUpdate {
  /** The new root keys, all of them. */
  readonly root?: readonly KeyHolder[];
  readonly rootThreshold?: number;
  /** The new keys of a role, all of them. */
  readonly roles: ReadonlyMap<Role, readonly RoleHolder[]>;
  /** Another trusted_root.json. */
  readonly trustedRoot?: TrustedRootTarget;
  readonly thresholds: ReadonlyMap<Role, number>;
  readonly revoke: Readonly<Record<RevocationKind, readonly string[]>>;
  /** Why it is revoked; needed if something is. */
  readonly reason: string;
  readonly now: Date;
}

interface Current {
  readonly root: Root;
  readonly targets: Targets;
  readonly snapshotVersion: number;
  readonly timestampVersion: number;
}

/**
 * Name → unsigned metadata: a new targets, snapshot and timestamp, and a new root if its keys or its
 * threshold change, or if nothing else does (then all that expires is renewed).
 * @throws TRUST_INCOMPLETE if the version before still lacks signatures | TRUST_LINT
 */
export function planTrustUpdate(
  files: ReadonlyMap<string, AnyMetadata>,
  update: TrustUpdate,
): Map<string, AnyMetadata> {
  const unsigned = signingState(files).find(({ signed, threshold }) => signed < threshold);
  if (unsigned) {
    throw signError("TRUST_INCOMPLETE", `release trust: ${unsigned.file} still lacks signatures`, {
      hints: ["sealift trust sign DIR --key K on each missing key's machine, or start again from the published copy"],
    });
  }
  const { root, targets, snapshotVersion, timestampVersion } = currentOf(files);
  const before = planOf(root, targets, update.now);
  const revoked = withRevocations(revocationsIn(targets), update);
  const after = withoutRevoked({ ...before, ...changedBy(before, update) }, revoked);
  lintTrustPlan(after);
  const isRootNew =
    fingerprints(after.root) !== fingerprints(before.root) ||
    after.rootThreshold !== before.rootThreshold ||
    (update.roles.size === 0 && update.thresholds.size === 0 && !update.trustedRoot && update.reason === "");
  const targetsVersion = targets.version + 1;
  return new Map<string, AnyMetadata>([
    ...(isRootNew
      ? [[`${root.version + 1}.root.json`, renderRoot(after, root.version + 1)] satisfies [string, AnyMetadata]]
      : []),
    [`${targetsVersion}.targets.json`, renderTargets(after, targetsVersion, revoked)],
    ...renderFreshness(after, {
      snapshot: snapshotVersion + 1,
      timestamp: timestampVersion + 1,
      targets: targetsVersion,
    }),
  ]);
}

function currentOf(files: ReadonlyMap<string, AnyMetadata>): Current {
  const newest = (type: string): AnyMetadata["signed"] => {
    const found = [...files.values()].map(({ signed }) => signed).filter((signed) => signed.type === type);
    const [first] = found.sort((a, b) => b.version - a.version);
    if (!first) throw signError("TRUST_LINT", `release trust: no ${type} metadata`);
    return first;
  };
  return {
    root: newest("root") as Root,
    targets: newest("targets") as Targets,
    snapshotVersion: newest("snapshot").version,
    timestampVersion: newest("timestamp").version,
  };
}

/** Who counts for what now. */
function planOf(root: Root, targets: Targets, now: Date): TrustPlan {
  const rootRole = root.roles["root"];
  const { delegations } = targets;
  const appliances = new Set<string>();
  const roles = ROLES.map((name) => {
    const role = delegations?.roles?.[name];
    if (!role) throw signError("TRUST_LINT", `release trust: no role ${name}`);
    for (const path of role.paths ?? []) appliances.add(path.replace(/\/\*$/, ""));
    const keys = role.keyIDs.map((id) => roleHolder(delegations?.keys[id], id));
    return [name, { keys, threshold: role.threshold }] as const;
  });
  const [appliance = "", ...others] = appliances;
  if (others.length > 0) throw signError("TRUST_LINT", "release trust: its roles are not for the same appliance");
  return {
    root: (rootRole?.keyIDs ?? []).map((id) => keyHolder(root.keys[id], id)),
    rootThreshold: rootRole?.threshold ?? 0,
    roles: new Map(roles),
    appliance,
    now,
    ...trustedRootIn(targets),
  };
}

function trustedRootIn(targets: Targets): Pick<TrustPlan, "trustedRoot"> {
  const target = targets.targets[TRUSTED_ROOT_TARGET];
  return target ? { trustedRoot: { length: target.length, sha256: target.hashes["sha256"] ?? "" } } : {};
}

function roleHolder(key: Key | undefined, id: string): RoleHolder {
  if (key?.keyType !== IDENTITY_KEY_TYPE) return keyHolder(key, id);
  const { identity = "", issuer = "" } = key.keyVal;
  return { identity, issuer, holder: String(key.unrecognizedFields?.[HOLDER_MEMBER] ?? "") };
}

function keyHolder(key: Key | undefined, id: string): KeyHolder {
  const publicKey = parsePublicKey(key?.keyVal["public"] ?? "", `key ${id}`);
  return { publicKey, holder: String(key?.unrecognizedFields?.[HOLDER_MEMBER] ?? "") };
}

function fingerprints(keys: readonly KeyHolder[]): string {
  return keys
    .map(({ publicKey, holder }) => `${keyFingerprint(publicKey)} ${holder}`)
    .sort()
    .join("\n");
}

function changedBy(before: TrustPlan, update: TrustUpdate): Partial<TrustPlan> {
  const roles = [...before.roles].map(
    ([name, { keys, threshold }]) =>
      [name, { keys: update.roles.get(name) ?? keys, threshold: update.thresholds.get(name) ?? threshold }] as const,
  );
  return {
    root: update.root ?? before.root,
    rootThreshold: update.rootThreshold ?? before.rootThreshold,
    roles: new Map(roles),
    ...(update.trustedRoot && { trustedRoot: update.trustedRoot }),
  };
}

function revocationsIn(targets: Targets): Revocations {
  const value = targets.unrecognizedFields[REVOKED_MEMBER];
  if (value === undefined) return NO_REVOCATIONS;
  const problem = schemaProblem(revocationsSchema, value);
  if (problem !== undefined) throw signError("TRUST_LINT", `release trust: revocations: ${problem}`);
  return value as unknown as Revocations;
}

/** The list with what is new; what is on it already keeps its first date and reason. */
function withRevocations(before: Revocations, { revoke, reason, now }: TrustUpdate): Revocations {
  const count = REVOCATION_KINDS.reduce((sum, kind) => sum + revoke[kind].length, 0);
  if (count > 0 && (reason === "" || reason.length > REVOCATION_REASON_MAX_LENGTH || plain(reason) !== reason)) {
    throw signError(
      "TRUST_LINT",
      `revocation: want a reason of 1 to ${REVOCATION_REASON_MAX_LENGTH} printable characters`,
    );
  }
  const at = `${now.toISOString().slice(0, 19)}Z`;
  const list = (kind: RevocationKind): Revocation[] => {
    const wrong = revoke[kind].find((id) => !new RegExp(REVOCATION_PATTERNS[kind], "u").test(id));
    if (wrong !== undefined)
      throw signError("TRUST_LINT", `revocation: ${JSON.stringify(wrong)} names none of ${kind}`);
    const added = [...new Set(revoke[kind])].filter((id) => !revocationOf(before, kind, id));
    return [...before[kind], ...added.map((id) => ({ id, reason, at }))];
  };
  return { keys: list("keys"), holders: list("holders"), releases: list("releases"), chips: list("chips") };
}

/** Takes revoked keys and holders out of every role; whether enough are left is for the lint to say. */
function withoutRevoked(plan: TrustPlan, revoked: Revocations): TrustPlan {
  const counts = (one: RoleHolder): boolean =>
    !revocationOf(revoked, "keys", fingerprintOf(one)) && !revocationOf(revoked, "holders", one.holder);
  const roles = [...plan.roles].map(
    ([name, { keys, threshold }]) => [name, { keys: keys.filter(counts), threshold }] as const,
  );
  return { ...plan, root: plan.root.filter(counts), roles: new Map(roles) };
}
