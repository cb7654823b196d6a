/**
 * Operators' keys as lines of OpenSSH's allowed_signers (ssh-keygen(1) "ALLOWED SIGNERS"), so that a
 * reviewer checks an authorization with ssh-keygen alone. Only lines with one reading are accepted:
 *
 *   PRINCIPAL namespaces="sealift-authorization"[,valid-after="…Z"][,valid-before="…Z"] TYPE BASE64 [comment]
 */
import { siteError } from "./error.ts";
import { parseSshKey, type SshKey } from "./ssh-key.ts";

export const NAMESPACE = "sealift-authorization";
/** The recovery key's principal, which no person has. */
export const RECOVERY_PRINCIPAL = "sealift-recovery";

export interface Signer {
  readonly principal: string;
  readonly key: SshKey;
  /** `YYYYMMDD[HHMM[SS]]Z`. */
  readonly validAfter?: string;
  readonly validBefore?: string;
}

const PRINCIPAL = /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$/;
const OPTION = /^([a-z-]+)(?:="([^"\\]*)")?$/;
/** Without the Z ssh-keygen reads local time, and another machine would judge otherwise. */
const DATE = /^[0-9]{8}(?:[0-9]{4}(?:[0-9]{2})?)?Z$/;
const SIGNERS_MAX = 256;
export const SIGNERS_MAX_BYTES = 1024 * 1024;

/**
 * The signers in `text`; empty lines and lines that start with # are skipped. `name` stands in messages;
 * `namespace` is what their keys may sign for.
 * @throws AUTHORITY_MALFORMED for a wildcard or list as principal, certificate authority, missing or
 * other namespace, unknown option, date without Z, a key given twice; SSH_KEY_MALFORMED
 */
export function parseSigners(text: string, name: string, namespace = NAMESPACE): Signer[] {
  const signers: Signer[] = [];
  const seen = new Map<string, string>();
  for (const [index, line] of text.split("\n").entries()) {
    const trimmed = line.replace(/\r$/, "").trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const where = `${name} line ${index + 1}`;
    const signer = parseSigner(trimmed, where, namespace);
    const other = seen.get(signer.key.fingerprint);
    if (other !== undefined) throw malformed(where, `the key of ${other} a second time`);
    seen.set(signer.key.fingerprint, signer.principal);
    signers.push(signer);
    if (signers.length > SIGNERS_MAX) throw malformed(where, `more than ${SIGNERS_MAX} keys`);
  }
  return signers;
}

function parseSigner(line: string, where: string, namespace: string): Signer {
  // A principal or option with a blank in quotes is nothing that we write; it fails below as what it is not.
  const [principal = "", options = "", type = "", base64 = ""] = line.split(/[ \t]+/);
  if (!PRINCIPAL.test(principal) || principal === RECOVERY_PRINCIPAL) {
    const problem = `got principal ${JSON.stringify(principal)}, want one plain name, no pattern and no list`;
    throw malformed(where, problem, namespace);
  }
  const given = new Map<string, string>();
  for (const option of options.split(",")) {
    const [, key = "", value = ""] = OPTION.exec(option) ?? [];
    if (key === "cert-authority") {
      throw malformed(where, "a certificate authority could name anybody it likes", namespace);
    }
    if (!["namespaces", "valid-after", "valid-before"].includes(key) || given.has(key)) {
      throw malformed(where, `got ${JSON.stringify(option)}, want namespaces="${namespace}" and the key`, namespace);
    }
    given.set(key, value);
  }
  if (given.get("namespaces") !== namespace) {
    const got = JSON.stringify(given.get("namespaces") ?? null);
    throw malformed(where, `got namespaces ${got}, want "${namespace}"`, namespace);
  }
  const validAfter = date(given, "valid-after", where);
  const validBefore = date(given, "valid-before", where);
  return {
    principal,
    key: parseSshKey(type, base64, where),
    ...(validAfter !== undefined && { validAfter }),
    ...(validBefore !== undefined && { validBefore }),
  };
}

function date(given: ReadonlyMap<string, string>, option: string, where: string): string | undefined {
  const text = given.get(option);
  if (text === undefined) return undefined;
  const [year, month, day, hour = "00", minute = "00", second = "00"] = [
    text.slice(0, 4),
    ...(text.slice(4, -1).match(/../g) ?? []),
  ];
  const parsed = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`);
  // A day that does not exist is moved on by one parser and refused by another.
  if (!DATE.test(text) || Number.isNaN(parsed.getTime()) || parsed.getUTCDate() !== Number(day)) {
    throw malformed(where, `got ${option}=${JSON.stringify(text)}, want YYYYMMDDZ or YYYYMMDDHHMMSSZ, with the Z`);
  }
  return text;
}

function malformed(where: string, problem: string, namespace = NAMESPACE): Error {
  return siteError("AUTHORITY_MALFORMED", `${where}: ${problem}`, {
    hints: [`a line reads: alice namespaces="${namespace}" ssh-ed25519 AAAA…`],
  });
}

/** The line that `parseSigners` reads, without a comment. */
export function signerLine(signer: Signer): string {
  return signerLineFor(NAMESPACE, signer);
}

/** The same for a key that may sign in another namespace. */
export function signerLineFor(namespace: string, { principal, key, validAfter, validBefore }: Signer): string {
  const options = [
    `namespaces="${namespace}"`,
    ...(validAfter === undefined ? [] : [`valid-after="${validAfter}"`]),
    ...(validBefore === undefined ? [] : [`valid-before="${validBefore}"`]),
  ];
  return `${principal} ${options.join(",")} ${key.type} ${key.base64}`;
}
