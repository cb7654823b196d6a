/**
 * What a ledger proves by itself, beyond its chain: that each authorization in it was signed by enough of
 * the operators of its moment, at this ledger's head of that moment, and that nothing changed the site or
 * its operators without one. Root can rewrite the chain, but not make these signatures.
 */

import { parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, isDigest } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { readReceipt } from "../../verify/attestation/release-file.ts";
import { type Authority, parseAuthority } from "../site/authority.ts";
import { judgeClock } from "../site/clock.ts";
import type { Deployments } from "../site/deployment.ts";
import { parseTrustPin } from "../site/trust.ts";
import { type AttestationRule, NO_ATTESTATION, ruleOfPolicy } from "./attestation-rule.ts";
import { ATTESTED, type AttestedData } from "./attested.ts";
import { checkSignatures, parseRequest } from "./authorization.ts";
import { lifecycleError } from "./error.ts";
import { headOf, type Ledger, type LedgerEntry, type LedgerWitness, parseLedger } from "./ledger.ts";
import { SITE_RESTORED } from "./ledger-deployments.ts";
import { POLICY_CHANGED, recorded } from "./policy-change.ts";
import { AUTHORITY_CHANGED, SITE_CREATED, siteIdOfLedger } from "./site.ts";
import { TRUST_CHANGED } from "./trust-change.ts";
import { checkReceiptSignature } from "./verifier-signature.ts";

export interface LedgerFinding {
  readonly code: string;
  readonly entry: number;
  readonly message: string;
}

export interface LedgerAudit {
  readonly findings: readonly LedgerFinding[];
  /** Authorizations whose signatures ssh-keygen verified again. */
  readonly authorizations: number;
}

/**
 * Checks every entry of a ledger whose chain holds. All findings, not the first; an entry of a type that
 * this version does not know is passed over, only its place in the chain counts.
 * @throws SSH_KEYGEN_MISSING
 */
export async function auditLedger(ledger: Ledger): Promise<LedgerAudit> {
  const audit = new Audit(ledger);
  for (const [index, entry] of ledger.entries.entries()) {
    try {
      await audit.entry(entry, index);
    } catch (cause) {
      if (!(cause instanceof SealiftError) || cause.code === "SSH_KEYGEN_MISSING") throw cause;
      audit.findings.push({ code: cause.code, entry: entry.seq, message: cause.message });
    }
  }
  return { findings: audit.findings, authorizations: audit.authorizations };
}

class Audit {
  readonly findings: LedgerFinding[] = [];
  authorizations = 0;
  readonly #ledger: Ledger;
  readonly #siteId: string;
  readonly #nonces = new Set<string>();
  /** Valid authorizations by their entry's digest, and what each allows. */
  readonly #granted = new Map<Digest, { readonly action: string; readonly to: Digest | null }>();
  #latest: Digest | undefined;
  #authority: Authority | undefined;
  #rule: AttestationRule = NO_ATTESTATION;
  /** Of the authorization before, whose clock finding an operator confirmed. */
  #confirms: readonly string[] = [];

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    this.#siteId = siteIdOfLedger(ledger);
  }

  async entry(entry: LedgerEntry, index: number): Promise<void> {
    this.#confirms = [];
    if (entry.type === SITE_CREATED) this.#created(entry);
    else if (entry.type === "authorized") await this.#authorized(entry, index);
    else if (entry.type === AUTHORITY_CHANGED) this.#authorityChanged(entry);
    else if (entry.type === TRUST_CHANGED) this.#trustChanged(entry);
    else if (entry.type === ATTESTED) await this.#attested(entry);
    else if (entry.type === POLICY_CHANGED) this.#policyChanged(entry);
    else if (entry.type === SITE_RESTORED) this.#siteRestored(entry);
    else if (entry.type === "operation") this.#operation(entry);
    this.#time(entry, index);
  }

  #find(code: string, entry: LedgerEntry, message: string): void {
    this.findings.push({ code, entry: entry.seq, message });
  }

  #created(entry: LedgerEntry): void {
    if (entry.seq !== 1) this.#find("LEDGER_UNAUTHORIZED", entry, "a site is created once, by its first entry");
    else this.#authority = parseAuthority(entry.data["authority"]);
  }

  async #authorized(entry: LedgerEntry, index: number): Promise<void> {
    const bytes = Buffer.from(String(entry.data["request"]), "utf8");
    const request = parseRequest(bytes);
    if (request.siteId !== this.#siteId) {
      throw lifecycleError("AUTHORIZATION_OTHER_SITE", `is for site ${request.siteId}`);
    }
    if (request.ledgerHead !== entry.prev || request.ledgerLength !== index) {
      throw lifecycleError("AUTHORIZATION_STALE", `was signed at entry ${request.ledgerLength} of another history`);
    }
    if (this.#nonces.has(request.nonce)) throw lifecycleError("AUTHORIZATION_REPLAYED", "was used before");
    if (Date.parse(request.expires) <= Date.parse(entry.time)) {
      throw lifecycleError("AUTHORIZATION_EXPIRED", `had expired at ${request.expires}`);
    }
    const given = entry.data["signatures"];
    const signatures = (Array.isArray(given) ? given : []).map((text, i) => ({
      name: `entry ${entry.seq} signature ${i + 1}`,
      bytes: Buffer.from(String(text), "latin1"),
    }));
    if (!this.#authority) throw lifecycleError("AUTHORIZATION_KEY_UNKNOWN", "no operators were enrolled before");
    await checkSignatures(this.#authority, request.action, bytes, signatures, new Date(entry.time));
    this.authorizations += 1;
    this.#nonces.add(request.nonce);
    this.#confirms = request.confirms;
    this.#latest = this.#ledger.heads[index] as Digest;
    this.#granted.set(this.#latest, { action: request.action, to: request.to });
  }

  #authorityChanged(entry: LedgerEntry): void {
    const authority = parseAuthority(entry.data["authority"]);
    const granted = this.#latest && this.#granted.get(this.#latest);
    if (granted?.action !== "operator" || granted.to !== authority.digest) {
      this.#find("LEDGER_UNAUTHORIZED", entry, "the operators changed, and nobody had authorized it");
    }
    // Later signatures are judged by what the ledger says, whoever made it say so: the finding stands.
    this.#authority = authority;
  }

  #trustChanged(entry: LedgerEntry): void {
    const { digest } = parseTrustPin(entry.data["trust"]);
    const granted = this.#latest && this.#granted.get(this.#latest);
    if (granted?.action === "trust" && granted.to === digest) return;
    this.#find("LEDGER_UNAUTHORIZED", entry, "the release trust changed, and nobody had authorized it");
  }

  /** What a verifier signed is checked again; a self-check proves nothing, so there is nothing to check. */
  async #attested(entry: LedgerEntry): Promise<void> {
    const { by, receipt, signature } = entry.data as unknown as AttestedData;
    if (by !== "verifier") return;
    const bytes = Buffer.from(String(receipt), "utf8");
    const { siteId, ledgerHead } = readReceipt(bytes);
    if (siteId !== this.#siteId || ledgerHead !== entry.prev) {
      this.#find("LEDGER_UNAUTHORIZED", entry, "the verifier's receipt is for another site or another history");
    }
    await checkReceiptSignature(this.#rule, bytes, Buffer.from(String(signature), "latin1"), new Date(entry.time));
  }

  #policyChanged(entry: LedgerEntry): void {
    const { digest, policy } = recorded(entry.data["policy"]);
    this.#rule = ruleOfPolicy(policy);
    const granted = this.#latest && this.#granted.get(this.#latest);
    if (granted?.action === "policy" && granted.to === digest) return;
    this.#find("LEDGER_UNAUTHORIZED", entry, "the policy changed, and nobody had authorized it");
  }

  /** The operation that starts it again has the same authorization. */
  #siteRestored(entry: LedgerEntry): void {
    const granted = this.#latest && this.#granted.get(this.#latest);
    if (granted?.action === "restore") return;
    this.#find("LEDGER_UNAUTHORIZED", entry, "the site was restored, and nobody had authorized it");
  }

  #operation(entry: LedgerEntry): void {
    const { authorization, operation, deployments } = entry.data;
    const granted = isDigest(authorization) ? this.#granted.get(authorization) : undefined;
    if (!granted || !isDigest(authorization)) {
      this.#find("LEDGER_UNAUTHORIZED", entry, `${JSON.stringify(operation)} ran without an authorization of its own`);
      return;
    }
    this.#granted.delete(authorization);
    if (deployments === undefined) return;
    const release = (deployments as Partial<Deployments> | null)?.current?.release ?? null;
    if (release === granted.to) return;
    const what = `${JSON.stringify(operation)} left release ${release}, but ${granted.to} was authorized`;
    this.#find("LEDGER_UNAUTHORIZED", entry, what);
  }

  #time(entry: LedgerEntry, index: number): void {
    const before = this.#ledger.entries[index - 1];
    if (!before) return;
    const { time, bootId, uptimeMs } = entry;
    const found = judgeClock({ now: new Date(time), bootId, uptimeMs }, before);
    if (found && !this.#confirms.includes(found.code)) this.#find(found.code, entry, found.message);
  }
}

/** What `ledger export --head` writes. */
export interface LedgerHead {
  readonly schemaVersion: 1;
  readonly siteId: string;
  readonly ledgerHead: Digest;
  readonly ledgerLength: number;
}

/**
 * The witness in a file: a request that an operator kept, an exported head, or an exported ledger.
 * Signatures are not checked: the witness is believed because of who kept it and where.
 * Undefined if the file is none of these. @throws LEDGER_DAMAGED for an exported ledger whose chain breaks
 */
export function parseWitness(bytes: Buffer, name: string): LedgerWitness | undefined {
  const value = parseCanonicalJson(trimmed(bytes)) as Record<string, unknown> | null | undefined;
  if (value && isDigest(value["ledgerHead"])) {
    const { siteId, ledgerHead, ledgerLength } = value;
    if (typeof siteId !== "string" || !Number.isSafeInteger(ledgerLength) || Number(ledgerLength) < 1) return undefined;
    return { name, siteId, head: ledgerHead, length: Number(ledgerLength) };
  }
  if (!bytes.subarray(0, 1).equals(Buffer.from("{")) || !bytes.includes('"prev":')) return undefined;
  const ledger = parseLedger(bytes, name);
  return {
    name,
    siteId: siteIdOfLedger(ledger),
    head: headOf(ledger),
    length: ledger.heads.length,
    heads: ledger.heads,
  };
}

function trimmed(bytes: Buffer): Buffer {
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
}
