/**
 * Authorizations: operators sign the plan, and only then the site moves. The plan is readable canonical
 * JSON; the signature is OpenSSH's (PROTOCOL.sshsig), in a namespace of its own, so that no signature made
 * for anything else counts. An authorization is spent once: the ledger records it before the first step,
 * and its `ledgerHead` is old from then on.
 */
import { randomBytes } from "node:crypto";
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { NAMESPACE, RECOVERY_PRINCIPAL, type Signer, signerLine } from "../site/allowed-signers.ts";
import { ACTIONS, type Action, type Authority } from "../site/authority.ts";
import { CLOCK_TOLERANCE_MS, requireClock } from "../site/clock.ts";
import { SITE_ID_PATTERN, TIME_PATTERN } from "../site/state.ts";
import { lifecycleError } from "./error.ts";
import { appendEntry, headOf } from "./ledger.ts";
import { clockFinding, type Site } from "./site.ts";
import { verifyWithSshKeygen } from "./ssh-keygen.ts";
import { parseSshSignature, type SshSignature } from "./sshsig.ts";

/** What an operator agrees to; the planner of each action makes it. */
export interface PlanSubject {
  readonly action: Action;
  /** What the site is at and what it shall be at: releases, or for `operator` authorities. */
  readonly from: Digest | null;
  readonly to: Digest | null;
  readonly configDigest: Digest | null;
  readonly policyDigest: Digest | null;
  readonly trustVersion: number | null;
  /** The plan in words, for the person who signs. They are part of what is compared. */
  readonly details: readonly string[];
}

export interface AuthorizationRequest extends PlanSubject {
  readonly schemaVersion: 1;
  readonly siteId: string;
  /** The ledger at that moment: its head, and how many entries it had. */
  readonly ledgerHead: Digest;
  readonly ledgerLength: number;
  readonly nonce: string;
  readonly created: string;
  readonly expires: string;
  readonly reason: string;
  /** Findings about the clock for which the operator vouches. */
  readonly confirms: readonly string[];
}

export const REQUEST_MAX_BYTES = 256 * 1024;
export const LIFETIME_MAX_MS = 30 * 24 * 3_600_000;
const SIGNATURES_MAX = 32;
const SPENT = "authorized";

const digest = { type: ["string", "null"], pattern: "^sha256:[0-9a-f]{64}$" };
const time = { type: "string", pattern: TIME_PATTERN };
const properties = {
  schemaVersion: { const: 1 },
  action: { enum: [...ACTIONS] },
  siteId: { type: "string", pattern: SITE_ID_PATTERN },
  from: digest,
  to: digest,
  configDigest: digest,
  policyDigest: digest,
  trustVersion: { type: ["integer", "null"], minimum: 1 },
  details: { type: "array", maxItems: 1000, items: { type: "string", maxLength: 32768 } },
  ledgerHead: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
  ledgerLength: { type: "integer", minimum: 1 },
  nonce: { type: "string", pattern: "^[0-9a-f]{32}$" },
  created: time,
  expires: time,
  reason: { type: "string", maxLength: 1000 },
  confirms: { type: "array", maxItems: 2, uniqueItems: true, items: { enum: ["CLOCK_BACKWARDS", "CLOCK_JUMPED"] } },
};

export const authorizationRequestSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
};

export interface RequestOptions {
  readonly reason: string;
  readonly lifetimeMs: number;
  /** Put the clock's finding, if there is one, among what the operator vouches for. */
  readonly confirmClock: boolean;
}

/** A request for `subject` at the site as it is now. @throws CLOCK_BACKWARDS | CLOCK_JUMPED unless confirmed */
export function makeRequest(site: Site, subject: PlanSubject, options: RequestOptions): Buffer {
  const finding = clockFinding(site);
  const confirms = finding && options.confirmClock ? [finding.code] : [];
  requireClock(finding, confirms);
  const { now } = site.clock();
  const request: AuthorizationRequest = {
    schemaVersion: 1,
    ...subjectOf(subject),
    siteId: site.siteId,
    ledgerHead: headOf(site.ledger),
    ledgerLength: site.ledger.entries.length,
    nonce: randomBytes(16).toString("hex"),
    created: now.toISOString(),
    expires: new Date(now.getTime() + Math.min(options.lifetimeMs, LIFETIME_MAX_MS)).toISOString(),
    reason: options.reason,
    confirms,
  };
  const problem = schemaProblem(authorizationRequestSchema, request);
  if (problem) throw lifecycleError("AUTHORIZATION_MALFORMED", `request: ${problem}`);
  return canonicalJson(request);
}

/** The form of a request; whether it may be used is `checkAuthorization`'s. @throws AUTHORIZATION_MALFORMED */
export function parseRequest(bytes: Uint8Array): AuthorizationRequest {
  const value = bytes.length > REQUEST_MAX_BYTES ? undefined : parseCanonicalJson(bytes);
  const problem = value === undefined ? "not canonical JSON" : schemaProblem(authorizationRequestSchema, value);
  if (problem) {
    throw lifecycleError("AUTHORIZATION_MALFORMED", `request: ${problem}`, {
      hints: ["an editor or a transfer may have changed it: even a newline at the end counts; make it again"],
    });
  }
  return value as AuthorizationRequest;
}

function subjectOf(value: PlanSubject): PlanSubject {
  const { action, from, to, configDigest, policyDigest, trustVersion, details } = value;
  return { action, from, to, configDigest, policyDigest, trustVersion, details };
}

export interface SignatureFile {
  /** The file's name, for messages. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Who signed, by key. */
export interface Approval {
  readonly principal: string;
  readonly fingerprint: string;
}

/** A plan that enough operators signed. Only `checkAuthorization` makes one. */
export interface Authorization {
  readonly brand: "Authorization";
  readonly request: AuthorizationRequest;
  readonly requestText: string;
  readonly signatures: readonly string[];
  readonly approvals: readonly Approval[];
}

/**
 * The authorization in `requestBytes` and `signatures` for exactly `subject` at exactly this site now.
 * Every signature given must hold; a bad one beside enough good ones is refused too.
 * @throws AUTHORIZATION_… as runbooks/errors.md lists them | CLOCK_BACKWARDS | CLOCK_JUMPED | SSH_KEYGEN_MISSING
 */
export async function checkAuthorization(
  site: Site,
  subject: PlanSubject,
  requestBytes: Uint8Array,
  signatures: readonly SignatureFile[],
): Promise<Authorization> {
  const request = parseRequest(requestBytes);
  const { now } = site.clock();
  requireThisSite(site, request);
  requireThisPlan(request, subject);
  requireUnspent(site, request);
  requireClock(clockFinding(site), request.confirms);
  requireTime(request, now);
  const approvals = await checkSignatures(site.authority, request.action, requestBytes, signatures, now);
  return {
    brand: "Authorization",
    request,
    requestText: Buffer.from(requestBytes).toString("utf8"),
    signatures: signatures.map(({ bytes }) => Buffer.from(bytes).toString("latin1")),
    approvals,
  };
}

function requireThisSite(site: Site, request: AuthorizationRequest): void {
  if (request.siteId === site.siteId) return;
  throw lifecycleError("AUTHORIZATION_OTHER_SITE", `request: is for site ${request.siteId}, this is ${site.siteId}`);
}

function requireThisPlan(request: AuthorizationRequest, subject: PlanSubject): void {
  const wanted = subjectOf(subject);
  for (const member of Object.keys(wanted) as (keyof PlanSubject)[]) {
    const [got, want] = [JSON.stringify(request[member]), JSON.stringify(wanted[member])];
    if (got === want) continue;
    throw lifecycleError("AUTHORIZATION_OTHER_PLAN", `request: ${member}: got ${got}, want ${want}`, {
      hints: ["what was signed is not what would be done now; make a new request with `sealift authorize`"],
    });
  }
}

function requireUnspent(site: Site, request: AuthorizationRequest): void {
  const spent = site.ledger.entries.find(({ type, data }) => type === SPENT && data["nonce"] === request.nonce);
  if (spent) {
    throw lifecycleError("AUTHORIZATION_REPLAYED", `request: was used already, at ledger entry ${spent.seq}`, {
      hints: ["each change needs a fresh authorization: sealift authorize"],
    });
  }
  if (request.ledgerHead === headOf(site.ledger) && request.ledgerLength === site.ledger.entries.length) return;
  const { ledgerLength } = request;
  const got = site.ledger.entries.length;
  const rewound = ledgerLength > got || site.ledger.heads[ledgerLength - 1] !== request.ledgerHead;
  throw lifecycleError(
    "AUTHORIZATION_STALE",
    `request: was made at ledger entry ${ledgerLength}, the ledger is at ${got}`,
    {
      hints: rewound
        ? ["the request's head is not in this ledger: was the site rewound? sealift ledger verify --against REQUEST"]
        : ["something happened on the site since; make a new request with `sealift authorize`"],
    },
  );
}

function requireTime(request: AuthorizationRequest, now: Date): void {
  const [created, expires] = [Date.parse(request.created), Date.parse(request.expires)];
  if (!(expires > created && expires - created <= LIFETIME_MAX_MS)) {
    throw lifecycleError("AUTHORIZATION_MALFORMED", `request: lives from ${request.created} to ${request.expires}`);
  }
  if (expires <= now.getTime()) {
    throw lifecycleError("AUTHORIZATION_EXPIRED", `request: expired at ${request.expires}, it is ${now.toISOString()}`);
  }
  if (created > now.getTime() + CLOCK_TOLERANCE_MS) {
    throw lifecycleError(
      "AUTHORIZATION_NOT_YET_VALID",
      `request: was made at ${request.created}, it is only ${now.toISOString()}`,
    );
  }
}

/**
 * Who signed `message`, if they are enough for `action`: distinct keys of distinct principals. The
 * recovery key counts for `operator` alone, and there it is enough by itself.
 * @throws AUTHORIZATION_MISSING | AUTHORIZATION_SIGNATURE_MALFORMED | AUTHORIZATION_NAMESPACE |
 * AUTHORIZATION_KEY_UNKNOWN | AUTHORIZATION_NO_TOUCH | AUTHORIZATION_SIGNATURE_INVALID |
 * AUTHORIZATION_THRESHOLD_NOT_MET | SSH_KEYGEN_MISSING
 */
export async function checkSignatures(
  authority: Authority,
  action: Action,
  message: Uint8Array,
  signatures: readonly SignatureFile[],
  at: Date,
): Promise<Approval[]> {
  const threshold = authority.document.thresholds[action];
  if (signatures.length === 0) {
    throw lifecycleError("AUTHORIZATION_MISSING", `${action}: got no signature, want ${threshold} of the operators`, {
      hints: ["--key FILE signs at once; `sealift authorize` makes a request for others; root alone is not enough"],
    });
  }
  if (signatures.length > SIGNATURES_MAX) {
    throw lifecycleError(
      "AUTHORIZATION_MALFORMED",
      `got ${signatures.length} signatures, want at most ${SIGNATURES_MAX}`,
    );
  }
  const allowed = signersFor(authority, action);
  const approvals: Approval[] = [];
  for (const { name, bytes } of signatures) {
    const signature = parseSshSignature(bytes, name);
    const signer = requireSigner(allowed, signature, name);
    const verified = await verifyWithSshKeygen({
      message,
      signature: bytes,
      principal: signer.principal,
      signers: allowed.map(signerLine),
      at,
    });
    if (!verified.ok) {
      throw lifecycleError("AUTHORIZATION_SIGNATURE_INVALID", `signature ${JSON.stringify(name)}: ${verified.reason}`, {
        hints: ["it must be over the bytes of this very request, by a key that is valid now"],
      });
    }
    approvals.push({ principal: signer.principal, fingerprint: signer.key.fingerprint });
  }
  if (approvals.some(({ principal }) => principal === RECOVERY_PRINCIPAL)) return approvals;
  const count = Math.min(
    ...(["principal", "fingerprint"] as const).map((by) => new Set(approvals.map((a) => a[by])).size),
  );
  if (count < threshold) {
    throw lifecycleError("AUTHORIZATION_THRESHOLD_NOT_MET", `${action}: got ${count} operators, want ${threshold}`, {
      hints: ["give every --authorization FILE.sig; one person counts once, however many keys sign"],
    });
  }
  return approvals;
}

/** Who may sign for it: the operators, and for a change of them the recovery key. */
export function signersFor({ operators, recoveryKey }: Authority, action: Action): readonly Signer[] {
  if (action !== "operator" || !recoveryKey) return operators;
  return [...operators, { principal: RECOVERY_PRINCIPAL, key: recoveryKey }];
}

function requireSigner(allowed: readonly Signer[], signature: SshSignature, name: string): Signer {
  const { key, namespace, touched } = signature;
  if (namespace !== NAMESPACE) {
    throw lifecycleError(
      "AUTHORIZATION_NAMESPACE",
      `signature ${JSON.stringify(name)}: got namespace ${JSON.stringify(namespace)}, want "${NAMESPACE}"`,
      { hints: [`ssh-keygen -Y sign -n ${NAMESPACE} -f KEY FILE.request`] },
    );
  }
  const signer = allowed.find((one) => one.key.fingerprint === key.fingerprint && one.key.base64 === key.base64);
  if (!signer) {
    throw lifecycleError(
      "AUTHORIZATION_KEY_UNKNOWN",
      `signature ${JSON.stringify(name)}: key ${key.fingerprint} is no operator's`,
      { hints: ["sealift operator list"] },
    );
  }
  if (touched === false) {
    throw lifecycleError(
      "AUTHORIZATION_NO_TOUCH",
      `signature ${JSON.stringify(name)}: nobody touched the hardware key ${key.fingerprint}`,
      { hints: ["make the key without the option no-touch-required, and touch it when it blinks"] },
    );
  }
  return signer;
}

/**
 * Writes the authorization into the ledger, where it is spent, and returns its entry's digest. The whole
 * request and its signatures go in: a reviewer checks each move with ssh-keygen. MUST be called under the
 * lock, before the first step. @throws STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export function spendAuthorization(site: Site, authorization: Authorization): Digest {
  const { request, requestText, signatures, approvals } = authorization;
  const { action, nonce } = request;
  const data = { action, nonce, request: requestText, signatures, approvals };
  return headOf(appendEntry(site.disk, site.paths.ledger, SPENT, data, site.clock()));
}
