/**
 * Certificates of TLS servers as the rest of the host judges them: Node's own list and the host's store. A
 * builder behind a company's proxy has that proxy's authority in the store, where apt, git and curl look.
 * NODE_EXTRA_CA_CERTS does not reach here, because the launcher takes it away.
 */
import { getCACertificates, setDefaultCACertificates } from "node:tls";

let done = false;

/** For this process, from now on. Nothing that is fetched is trusted for its server's sake: locks name hashes. */
export function trustHostCertificates(): void {
  if (done) return;
  done = true;
  setDefaultCACertificates([...new Set([...getCACertificates("default"), ...getCACertificates("system")])]);
}
