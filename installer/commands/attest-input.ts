/** What the attestation verbs are given: nonce, time, a directory of collateral. */
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { CRL_MAX_BYTES } from "../../verify/attestation/certificate.ts";
import { CHALLENGE_MAX_BYTES, challengeReportData } from "../../verify/attestation/challenge.ts";
import { NONCE_MAX_BYTES, NONCE_MIN_BYTES, reportDataOf } from "../../verify/attestation/report-data.ts";
import { installerError } from "../error.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { asksSite } from "../lifecycle/answer-challenge.ts";
import { isUnfinished } from "../lifecycle/collateral-store.ts";
import { DEFAULT_RUN } from "../lifecycle/transport-key.ts";
import { type Invocation, optionalOption, usageError } from "./command.ts";

/** For the verbs by which a site answers and opens. */
export const RUN_OPTIONS = { state: { type: "string" }, run: { type: "string" } } as const;
export const RUN_DETAILS = [
  "--state DIR  the site's state directory (default /var/lib/sealift)",
  `--run DIR    where keys are kept in memory, a directory on a tmpfs (default ${DEFAULT_RUN})`,
];

export function runDirectory(invocation: Invocation): string {
  return resolve(optionalOption(invocation, "run") ?? DEFAULT_RUN);
}

/** 1 to `max` hours. @throws USAGE */
export function readHours(verb: string, text: string | undefined, fallback: number, max: number): number {
  const hours = text === undefined ? fallback : Number(text);
  if (text !== undefined && (!/^[1-9][0-9]*$/.test(text) || hours > max)) {
    throw usageError(verb, `--hours: got ${JSON.stringify(text)}, want 1 to ${max}`);
  }
  return hours;
}

/** The nonce of an attestation question. @throws USAGE unless `text` is 16 to 64 bytes in hexadecimal. */
export function readNonce(verb: string, text: string | undefined): Buffer | null {
  if (text === undefined) return null;
  const bytes = text.length / 2;
  if (!/^(?:[0-9a-f]{2})+$/i.test(text) || bytes < NONCE_MIN_BYTES || bytes > NONCE_MAX_BYTES) {
    const want = `${NONCE_MIN_BYTES} to ${NONCE_MAX_BYTES} bytes in hexadecimal, e.g. of openssl rand -hex 32`;
    throw usageError(verb, `--nonce: got ${JSON.stringify(text)}, want ${want}`);
  }
  return Buffer.from(text, "hex");
}

/** REPORT_DATA, or a challenge that asks a site for its keys, from which the site makes it. */
export type Question = Buffer | { readonly challenge: Buffer };

/** What `--nonce` or `--challenge` asks. @throws USAGE unless one of them is given | FILE_… | ATTEST_CHALLENGE_MALFORMED */
export async function readQuestion(invocation: Invocation, verb: string): Promise<Question> {
  const nonce = readNonce(verb, optionalOption(invocation, "nonce"));
  const path = optionalOption(invocation, "challenge");
  if ((nonce === null) === (path === undefined)) throw usageError(verb, "give --nonce or --challenge");
  if (nonce !== null) return reportDataOf(nonce);
  const challenge = await readBoundedFile(path as string, CHALLENGE_MAX_BYTES);
  return asksSite(challenge) ? { challenge } : challengeReportData(challenge);
}

/**
 * Every file of the directory: one that is no certificate and no list makes the appraisal fail, and is named. What an
 * import that was cut off left unfinished is none of them.
 */
export async function readCollateralDirectory(directory: string): Promise<{ name: string; bytes: Buffer }[]> {
  const names = await readdir(directory).catch((cause: NodeJS.ErrnoException) => {
    const code = cause.code === "ENOENT" ? "FILE_NOT_FOUND" : "FILE_UNREADABLE";
    throw installerError(code, `${JSON.stringify(directory)}: ${reasonOf(cause)}`, { cause });
  });
  const files: { name: string; bytes: Buffer }[] = [];
  for (const name of names.filter((one) => !isUnfinished(one)).sort()) {
    files.push({ name, bytes: await readBoundedFile(join(directory, name), CRL_MAX_BYTES) });
  }
  return files;
}

/** RFC 3339 with a zone; a local time without one would mean another instant on another machine. */
export function readTime(verb: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const at = new Date(text);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/.test(text) || Number.isNaN(at.getTime())) {
    throw usageError(verb, `--at: got ${JSON.stringify(text)}, want RFC 3339, e.g. 2026-11-21T12:00:00Z`);
  }
  return at;
}
