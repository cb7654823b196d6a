/** A site that trusts a publisher, and what publishers and forgers do to a trust afterwards. */
import { checkAuthorization, spendAuthorization } from "../../installer/lifecycle/authorization.ts";
import { execute } from "../../installer/lifecycle/execute.ts";
import {
  type PolicyChange,
  planPolicyChange,
  policyChange,
  policyChangeParameters,
  policyChangeTo,
} from "../../installer/lifecycle/policy-change.ts";
import type { Site } from "../../installer/lifecycle/site.ts";
import {
  planTrustChange,
  type TrustChange,
  trustChange,
  trustChangeParameters,
  trustChangeTo,
} from "../../installer/lifecycle/trust-change.ts";
import { stageTrust, type TrustFiles } from "../../installer/site/trust.ts";
import { sshSign, type TestSigner } from "./ssh-signer.ts";
import { request } from "./test-site.ts";
import { resign, type SignedJson, type TestTrust } from "./test-trust.ts";

/** Imports a trust as `sealift trust import` does, authorized by `signer`. */
export async function importTrust(site: Site, files: TrustFiles, signer: TestSigner): Promise<TrustChange> {
  const change = trustChangeTo(site, files);
  const subject = planTrustChange(change);
  const bytes = request(site, subject);
  const authorization = await checkAuthorization(site, subject, bytes, [{ name: "x", bytes: sshSign(signer, bytes) }]);
  stageTrust(site.disk, site.paths.directory, files);
  await execute(site, trustChange, site, trustChangeParameters(change), spendAuthorization(site, authorization));
  return change;
}

/** Enrols a policy as `sealift policy import` does, authorized by `signer`. */
export async function importPolicy(site: Site, policy: Buffer, signer: TestSigner): Promise<PolicyChange> {
  const change = policyChangeTo(site.ledger.entries, policy);
  const subject = planPolicyChange(change);
  const bytes = request(site, subject);
  const authorization = await checkAuthorization(site, subject, bytes, [{ name: "x", bytes: sshSign(signer, bytes) }]);
  await execute(site, policyChange, site, policyChangeParameters(change), spendAuthorization(site, authorization));
  return change;
}

/** The same trust with a file changed and signed anew; with `as` under another name, e.g. `2.root.json`. */
export function changedTrust(
  trust: TestTrust,
  name: string,
  change: (signed: SignedJson) => void,
  as = name,
): TestTrust {
  const files = new Map(trust.files);
  if (as !== name) files.set(as, files.get(name) as Buffer);
  const changed = { ...trust, files };
  resign(changed, as, change);
  return changed;
}

/** The trust with a second root, which says the same as the first but for `change`. */
export function rotatedTrust(trust: TestTrust, change: (signed: SignedJson) => void = () => {}): TestTrust {
  const next = (signed: SignedJson): void => {
    signed.version = 2;
    change(signed);
  };
  return changedTrust(trust, "1.root.json", next, "2.root.json");
}

/** The trust with a newer timestamp. */
export function freshTrust(trust: TestTrust, version = 2): TestTrust {
  return changedTrust(trust, "timestamp.json", (signed) => {
    signed.version = version;
  });
}
