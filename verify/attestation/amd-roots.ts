/**
 * The keys from which AMD's chains hang: SHA-256 of the SubjectPublicKeyInfo of each ARK. A constant of the
 * source on purpose: no option, file or environment can add one. The certificates themselves come with the
 * collateral; only their keys are pinned, and the certificates' own names and dates are checked as well.
 */
import type { SnpProduct } from "./snp-product.ts";

const AMD_ROOT_KEYS: Readonly<Record<SnpProduct, string>> = {
  Milan: "sha256:9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9",
  Genoa: "sha256:429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831",
  Turin: "sha256:4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08",
};

/** Whether `keyDigest` is the digest of AMD's root key for `product`. */
export function isAmdRoot(product: SnpProduct, keyDigest: string): boolean {
  return AMD_ROOT_KEYS[product] === keyDigest;
}
