/**
 * For whom a service asks another one: the caller that the gateway authenticated, signed for one event or
 * question. A JWS in compact form (RFC 7515) with HMAC-SHA-256 and the claims of RFC 7519, its type explicit
 * (RFC 8725, 3.11). There is one header and no other algorithm. Each receiving service has a key of its own,
 * which it shares with who signs.
 *
 * Not checked here: whether it is used a second time (spent-principals.ts), and whether what it came with is
 * about the same caller (`requireSame`).
 */
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import type { Problem } from "./problem.ts";
import { readSecretValues, SettingsError } from "./settings.ts";

export interface Principal {
  readonly requestId: string;
  /** The tenant's id. */
  readonly tenant: string;
  readonly tenantName: string;
  /** The id of whom the credential belongs to. */
  readonly actor: string;
  readonly role: string;
}

export interface VerifiedPrincipal extends Principal {
  /** Of the one event or question that it was signed for. */
  readonly id: string;
  /** Milliseconds of the clock. */
  readonly issuedAt: number;
}

/** Longer than a request to another service may take: each time it is sent it is signed anew. */
const LIFETIME_MS = 15_000;
/** For two clocks that differ a little; inside one host they do not. */
const SKEW_MS = 5_000;
/** How long after its first use one could still be good. */
export const PRINCIPAL_GOOD_MS = LIFETIME_MS + 2 * SKEW_MS;

const TOKEN_MAX = 2048;
const ISSUER = "gateway";
const HEADER = base64url({ alg: "HS256", typ: "sealift-principal+jwt" });
const SIGNATURE_CHARACTERS = 43;
const FORM = new RegExp(`^${HEADER}\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]{${SIGNATURE_CHARACTERS}}$`);

const refusal = <Name extends string>(name: Name, title: string, status = 403) => ({ status, name, title });

/** After a 401 the same may be sent with a new one; after a 403 it would be refused again. */
export const PRINCIPAL_PROBLEMS = {
  missing: refusal("principal-missing", "It does not say for whom it is"),
  malformed: refusal("principal-malformed", "The principal is not a token of the kind that is read here"),
  forged: refusal("principal-forged", "The principal's signature is not valid"),
  audience: refusal("principal-audience", "The principal is for another service"),
  issuer: refusal("principal-issuer", "The principal is not from the service that sends it"),
  expired: {
    ...refusal("principal-expired", "The principal is not of this moment", 401),
    headers: { "www-authenticate": "Principal" },
  },
  replayed: refusal("principal-replayed", "The principal was used already, or for something else"),
  request: refusal("principal-request", "The principal is of another request"),
  tenant: refusal("principal-tenant", "The principal is of another tenant"),
  actor: refusal("principal-actor", "The principal is of another actor or role"),
  busy: {
    ...refusal("principal-busy", "More principals are in use than can be told apart", 503),
    headers: { "retry-after": "1" },
  },
} as const satisfies Record<string, Problem>;

export type PrincipalFault = keyof typeof PRINCIPAL_PROBLEMS;

/** `code` is the problem's name, fit for a log. */
export class PrincipalRefused extends Error {
  readonly code: string;
  readonly problem: Problem;
  constructor(fault: PrincipalFault) {
    super(PRINCIPAL_PROBLEMS[fault].name);
    this.name = "PrincipalRefused";
    this.code = PRINCIPAL_PROBLEMS[fault].name;
    this.problem = PRINCIPAL_PROBLEMS[fault];
  }
}

/**
 * The key in a file, 32 bytes in hexadecimal, to sign with; and while it is rotated another one behind it, which
 * is as good where signatures are verified. @throws SettingsError, or what reading throws
 */
export async function readPrincipalKeys(path: string): Promise<readonly [KeyObject, ...KeyObject[]]> {
  const [own, ...others] = await readSecretValues(path);
  return [parseKey(own), ...others.map(parseKey)];
}

function parseKey(text: string): KeyObject {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new SettingsError(["principal key: want 64 hexadecimal digits"]);
  return createSecretKey(Buffer.from(text, "hex"));
}

export class PrincipalSigner {
  readonly #audience: string;
  readonly #key: KeyObject;
  readonly #now: () => number;

  /** `audience`: the service that it is for, whose key this is. */
  constructor(audience: string, key: KeyObject, now: () => number = Date.now) {
    this.#audience = audience;
    this.#key = key;
    this.#now = now;
  }

  /** For the one event or question `id`. */
  sign({ requestId, tenant, tenantName, actor, role }: Principal, id: string): string {
    const now = this.#now();
    const claims = { iss: ISSUER, aud: this.#audience, sub: actor, jti: id, ...times(now) };
    const signed = `${HEADER}.${base64url({ ...claims, requestId, tenant, tenantName, role })}`;
    return `${signed}.${signature(signed, this.#key)}`;
  }
}

export class PrincipalVerifier {
  readonly #audience: string;
  readonly #keys: readonly KeyObject[];
  readonly #now: () => number;

  constructor(audience: string, keys: readonly KeyObject[], now: () => number = Date.now) {
    this.#audience = audience;
    this.#keys = keys;
    this.#now = now;
  }

  /** `sender`: who is at the other end of the connection. @throws PrincipalRefused */
  verify(token: unknown, sender: string): VerifiedPrincipal {
    const { iss, aud, iat, exp, principal } = this.#claims(token);
    if (aud !== this.#audience) throw new PrincipalRefused("audience");
    if (iss !== sender) throw new PrincipalRefused("issuer");
    const now = this.#now();
    const isOfNow = iat - SKEW_MS <= now && now <= exp + SKEW_MS && exp - iat <= LIFETIME_MS;
    if (!isOfNow) throw new PrincipalRefused("expired");
    return { ...principal, issuedAt: iat };
  }

  #claims(token: unknown): Claims {
    if (token === undefined) throw new PrincipalRefused("missing");
    if (typeof token !== "string" || token.length > TOKEN_MAX || !FORM.test(token)) {
      throw new PrincipalRefused("malformed");
    }
    const signed = token.slice(0, -SIGNATURE_CHARACTERS - 1);
    // As text, of which there is one for each signature.
    const given = Buffer.from(token.slice(-SIGNATURE_CHARACTERS), "latin1");
    const isOf = (key: KeyObject): boolean => timingSafeEqual(given, Buffer.from(signature(signed, key), "latin1"));
    if (!this.#keys.some(isOf)) throw new PrincipalRefused("forged");
    return parseClaims(Buffer.from(signed.slice(HEADER.length + 1), "base64url").toString("utf8"));
  }
}

/** Whether what `principal` came with is about the same request and caller. @throws PrincipalRefused */
export function requireSame(principal: Principal, got: Readonly<Partial<Record<keyof Principal, unknown>>>): void {
  const differs = (name: keyof Principal): boolean => name in got && got[name] !== principal[name];
  if (differs("requestId")) throw new PrincipalRefused("request");
  if (differs("tenant") || differs("tenantName")) throw new PrincipalRefused("tenant");
  if (differs("actor") || differs("role")) throw new PrincipalRefused("actor");
}

interface Claims {
  readonly principal: Principal & { readonly id: string };
  readonly iss: string;
  readonly aud: string;
  /** Milliseconds; in the token they are seconds. */
  readonly iat: number;
  readonly exp: number;
}

function times(now: number): { iat: number; exp: number } {
  return { iat: now / 1000, exp: (now + LIFETIME_MS) / 1000 };
}

/** Of a token whose signature is valid. @throws PrincipalRefused */
function parseClaims(json: string): Claims {
  const { iss, aud, sub: actor, jti: id, iat, exp, requestId, tenant, tenantName, role } = parseObject(json);
  const texts = [iss, aud, actor, id, requestId, tenant, tenantName, role];
  const areTexts = texts.every((value) => typeof value === "string" && value !== "");
  if (!areTexts || typeof iat !== "number" || typeof exp !== "number") throw new PrincipalRefused("malformed");
  const principal = { id, requestId, tenant, tenantName, actor, role } as Claims["principal"];
  return {
    principal,
    iss: iss as string,
    aud: aud as string,
    iat: Math.round(iat * 1000),
    exp: Math.round(exp * 1000),
  };
}

function parseObject(json: string): Readonly<Record<string, unknown>> {
  try {
    const parsed: unknown = JSON.parse(json);
    if (typeof parsed === "object" && parsed !== null) return parsed as Readonly<Record<string, unknown>>;
  } catch {
    // Same as any other thing that has no claims.
  }
  throw new PrincipalRefused("malformed");
}

function base64url(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function signature(signed: string, key: KeyObject): string {
  return createHmac("sha256", key).update(signed).digest("base64url");
}
