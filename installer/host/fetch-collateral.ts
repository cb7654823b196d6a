/** The connected machine's part of a collateral kit: asks the vendors' servers, gently, for exactly what is needed. */
import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { CRL_MAX_BYTES } from "../../verify/attestation/certificate.ts";
import { collateralItems } from "../../verify/attestation/collateral-check.ts";
import type { FetchedFile } from "../../verify/attestation/collateral-kit.ts";
import {
  addressesOf,
  type CollateralAddress,
  type CollateralNeed,
  type CollateralServers,
} from "../../verify/attestation/collateral-needs.ts";
import { attestationError } from "../../verify/attestation/error.ts";

const IDLE_MS = 30_000;
const TRIES = 6;
/** AMD's server answers 429 after some requests a minute. */
const PAUSE_MS = 10_000;
const PAUSE_MAX_MS = 120_000;

export interface FetchOptions {
  readonly servers: CollateralServers;
  /** Told where it is and why it waits. */
  readonly onLine: (line: string) => void;
  /** The first pause before another try; each further one is twice as long. */
  readonly pauseMs?: number;
}

export interface FetchedCollateral {
  /** Without those that the servers know nothing of, where the report left open which processor it is. */
  readonly needs: readonly CollateralNeed[];
  readonly files: readonly FetchedFile[];
}

type Answer = { readonly bytes: Buffer; readonly headers: Headers } | "unknown";

/**
 * Everything for `needs`, each address once. What came is read, so that a login page is not carried home as a list; its
 * signatures are checked where it is imported.
 * @throws ATTEST_FETCH_FAILED | ATTEST_COLLATERAL_MISSING if a server has it not, and what the files' readers throw
 */
export async function fetchCollateral(
  needs: readonly CollateralNeed[],
  options: FetchOptions,
): Promise<FetchedCollateral> {
  const files = new Map<string, FetchedFile>();
  const met: CollateralNeed[] = [];
  for (const need of needs) {
    const found = await fetchNeed(need, options, files);
    if (found === "unknown") continue;
    met.push(need);
    for (const file of found) files.set(file.name, file);
  }
  if (met.length === 0) throw missing("none of the processors that the report can be of has a certificate for it");
  return { needs: met, files: [...files.values()] };
}

async function fetchNeed(
  need: CollateralNeed,
  options: FetchOptions,
  known: ReadonlyMap<string, FetchedFile>,
): Promise<readonly FetchedFile[] | "unknown"> {
  const files: FetchedFile[] = [];
  for (const address of addressesOf(need, options.servers)) {
    if (known.get(address.name)?.source === address.url) continue;
    const answer = await ask(address.url, options);
    if (answer === "unknown") {
      if (need.kind === "sev-snp" && !need.certain && files.length === 0) return "unknown";
      throw missing(`${address.url}: the server has none`);
    }
    files.push(...filesOf(address, answer));
  }
  return files;
}

function filesOf(
  { name, url, chain }: CollateralAddress,
  { bytes, headers }: Exclude<Answer, "unknown">,
): FetchedFile[] {
  const files: FetchedFile[] = [{ name, bytes, source: url }];
  if (chain !== undefined) {
    const pem = headers.get(chain.header);
    if (pem === null) throw failed(url, `the answer has no header ${chain.header}`);
    files.push({ name: chain.name, bytes: Buffer.from(decoded(pem, url)), source: url });
  }
  collateralItems(files);
  return files;
}

function decoded(text: string, url: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw failed(url, "its header with certificates is not percent-encoded", cause);
  }
}

async function ask(url: string, options: FetchOptions): Promise<Answer> {
  let pause = options.pauseMs ?? PAUSE_MS;
  for (let tried = 1; ; tried += 1) {
    options.onLine(url);
    const again = (why: string, cause?: unknown): void => {
      if (tried === TRIES) throw failed(url, `${why}, ${TRIES} times`, cause);
    };
    let wait = pause;
    try {
      const response = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(IDLE_MS) });
      if (response.status === 200) return { bytes: await body(response, url), headers: response.headers };
      await response.body?.cancel();
      if (response.status === 404) return "unknown";
      if (response.status !== 429 && response.status < 500) throw failed(url, `got status ${response.status}`);
      again(`got status ${response.status}`);
      wait = 1000 * Number(response.headers.get("retry-after") ?? Number.NaN) || pause;
    } catch (cause) {
      if (cause instanceof Error && cause.name === "SealiftError") throw cause;
      const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
      again(reasonOf(inner), cause);
    }
    wait = Math.min(wait, PAUSE_MAX_MS);
    options.onLine(`${url}: again in ${Math.ceil(wait / 1000)} s`);
    await sleep(wait);
    pause *= 2;
  }
}

async function body(response: Response, url: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > CRL_MAX_BYTES) throw failed(url, `got more than ${CRL_MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function failed(url: string, problem: string, cause?: unknown): Error {
  return attestationError("ATTEST_FETCH_FAILED", `${url}: ${problem}`, {
    cause,
    hints: ["nothing was written; is this the connected machine, and does a proxy stand between?"],
  });
}

function missing(problem: string): Error {
  return attestationError("ATTEST_COLLATERAL_MISSING", `collateral: ${problem}`, {
    hints: [
      "a server that is asked for a chip or platform that it does not know answers 404: was it the right evidence?",
    ],
  });
}
