/**
 * The key from which Intel's chains hang: SHA-256 of the SubjectPublicKeyInfo of the Intel SGX Root CA. A constant of
 * the source on purpose, as in amd-roots.ts: no option, file or environment can add one.
 */
const INTEL_ROOT_KEY = "sha256:a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e";

/** Whether `keyDigest` is the digest of Intel's root key. */
export function isIntelRoot(keyDigest: string): boolean {
  return keyDigest === INTEL_ROOT_KEY;
}
