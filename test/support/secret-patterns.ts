/** Secrets of other people, as each of them looks where it is a real one. */
const SECRETS: Readonly<Record<string, RegExp>> = {
  "a private key": /-----BEGIN (?:[A-Z]+ )?(?:ENCRYPTED )?PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40,}/,
  "an OpenSSH key": /-----BEGIN OPENSSH PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40,}/,
  "an age key": /AGE-SECRET-KEY-1[0-9A-Z]{58}/,
  "an API key of the gateway": /\bslk_[a-z2-7]{12}_[A-Za-z0-9_-]{43}\b/,
  "a key of AWS": /\bAKIA[0-9A-Z]{16}\b/,
  "a token of GitHub": /\bgh[pousr]_[A-Za-z0-9]{36}\b/,
  "a token of npm": /\bnpm_[A-Za-z0-9]{36}\b/,
  "a token of Slack": /\bxox[abprs]-[A-Za-z0-9-]{10,}/,
  "a key of OpenAI": /\bsk-[A-Za-z0-9]{32,}\b/,
  "a JSON Web Token": /\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}/,
  // But for the example in the documentation of pg-connection-string.
  "a password in an address": /\b[a-z]+:\/\/[^\s:/@]+:(?!somepassword@)[^\s:/@{}$<>"'`]{3,}@[a-z0-9]/,
};

export const SECRET_KINDS: readonly string[] = Object.keys(SECRETS);

/** The kinds of secrets that are in `text`. */
export function secretsIn(text: string): string[] {
  return Object.entries(SECRETS).flatMap(([name, pattern]) => (pattern.test(text) ? [name] : []));
}
