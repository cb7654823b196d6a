/** The files that come with evidence: each by what it holds, not by its name. */
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { type ReadCertificate, type RevocationList, readCertificates, readRevocationList } from "./certificate.ts";
import { attestationError } from "./error.ts";
import { type IntelDocument, isIntelDocument, readIntelDocument } from "./tdx-collateral.ts";

/** A site with some machines has a certificate for each chip and firmware. */
export const COLLATERAL_FILES_MAX = 64;

export interface CollateralFile {
  readonly name: string;
  readonly bytes: Buffer;
}

export interface Collateral {
  readonly certificates: readonly ReadCertificate[];
  readonly revocationLists: readonly RevocationList[];
  readonly documents: readonly IntelDocument[];
}

/**
 * @throws ATTEST_EVIDENCE_MALFORMED for too many files, and what the readers throw: a file that is none of what belongs
 * here is not passed over.
 */
export function readCollateral(files: readonly CollateralFile[]): Collateral {
  if (files.length > COLLATERAL_FILES_MAX) {
    throw attestationError(
      "ATTEST_EVIDENCE_MALFORMED",
      `collateral: got ${files.length} files, want at most ${COLLATERAL_FILES_MAX}`,
    );
  }
  const read = files.map(readFile);
  return {
    certificates: read.flatMap(({ certificates = [] }) => certificates),
    revocationLists: read.flatMap(({ revocationLists = [] }) => revocationLists),
    documents: read.flatMap(({ documents = [] }) => documents),
  };
}

function readFile({ name, bytes }: CollateralFile): Partial<Collateral> {
  try {
    return readOne(name, bytes);
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    throw new SealiftError(cause.code, cause.exit, `collateral ${JSON.stringify(name)}: ${cause.message}`);
  }
}

function readOne(name: string, bytes: Buffer): Partial<Collateral> {
  if (isIntelDocument(bytes)) return { documents: [readIntelDocument(bytes)] };
  try {
    return { certificates: readCertificates(bytes) };
  } catch (notCertificate) {
    try {
      return { revocationLists: [readRevocationList(bytes)] };
    } catch (notList) {
      throw /\.crl(?:\.pem)?$/i.test(name) ? notList : notCertificate;
    }
  }
}
