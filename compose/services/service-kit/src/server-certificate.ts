/** The certificate that clients of the appliance see, from two files that may change while the service runs. */
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { errorCode, type Log } from "./log.ts";

export interface CertificateFiles {
  /** PEM, the leaf first. */
  readonly chainFile: string;
  /** PEM, PKCS#8. */
  readonly keyFile: string;
}

export interface ServerCertificate {
  readonly cert: Buffer;
  readonly key: Buffer;
}

const LOOK_EVERY_MS = 30_000;

/** Rejects if a file is missing, not PEM, or the key is not the leaf's. */
export async function readServerCertificate({ chainFile, keyFile }: CertificateFiles): Promise<ServerCertificate> {
  const [cert, key] = await Promise.all([readFile(chainFile), readFile(keyFile)]);
  createSecureContext({ cert, key });
  return { cert, key };
}

/**
 * Calls `use` with each new pair until `stop`. Two files cannot be replaced in one step: a pair that does
 * not fit is left alone and looked at again.
 */
export function watchServerCertificate(
  files: CertificateFiles,
  first: ServerCertificate,
  use: (certificate: ServerCertificate) => void,
  log: Log,
  everyMs = LOOK_EVERY_MS,
): { stop(): void } {
  let current = first;
  const look = async (): Promise<void> => {
    try {
      const found = await readServerCertificate(files);
      if (found.cert.equals(current.cert) && found.key.equals(current.key)) return;
      use(found);
      current = found;
      log("info", "certificate-renewed");
    } catch (cause) {
      log("warn", "certificate-unusable", { code: errorCode(cause) });
    }
  };
  const timer = setInterval(() => void look(), everyMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
