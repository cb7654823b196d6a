/** The HTTP or HTTPS server beneath a service: its limits and its TLS. */
import { constants } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { TlsOptions } from "node:tls";
import type { PeerTls } from "./identity.ts";

export type Listener = Server | TlsServer;

export interface Timeouts {
  /** From a request's first byte to the end of its headers. */
  readonly headersMs: number;
  /** … and to the end of its body. */
  readonly requestMs: number;
  /** Of a connection without a request: longer than clients keep one, so that it is they who close it. */
  readonly idleMs: number;
  /** How often Node looks for requests that are late. */
  readonly lookEveryMs: number;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
const TIMEOUTS: Timeouts = {
  headersMs: 10_000,
  requestMs: 60_000,
  idleMs: 75_000,
  lookEveryMs: 2_000,
};
const HEADER_MAX_BYTES = 16 * 1024;
const CONNECTIONS_MAX = 4096;

/** All three of TLS 1.3, and of 1.2 those with forward secrecy and authenticated encryption. */
const CIPHERS = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
].join(":");

export function isTls(listener: Listener): listener is TlsServer {
  return "setSecureContext" in listener;
}

/** `given` over what every TLS server of ours has. */
export function serverTls(given: TlsOptions): TlsOptions {
  return {
    minVersion: "TLSv1.2",
    ciphers: CIPHERS,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    honorCipherOrder: true,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    ALPNProtocols: ["http/1.1"],
    ...given,
  };
}

/** Not listening yet. HTTPS if `tls` is given; with an identity's options, only for the services that it allows. */
export function createListener(
  tls: TlsOptions | PeerTls | undefined,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  changed: Partial<Timeouts> = {},
): Listener {
  const timeouts = { ...TIMEOUTS, ...changed };
  const limits = { maxHeaderSize: HEADER_MAX_BYTES, connectionsCheckingInterval: timeouts.lookEveryMs };
  const listener = tls ? createTlsServer({ ...serverTls(tls), ...limits }, handle) : createServer(limits, handle);
  if (tls && "guard" in tls) tls.guard(listener as TlsServer);
  listener.headersTimeout = timeouts.headersMs;
  listener.requestTimeout = timeouts.requestMs;
  listener.keepAliveTimeout = timeouts.idleMs;
  listener.maxConnections = CONNECTIONS_MAX;
  // No limit here: Node would drop the surplus without a word, where headersProblem refuses it.
  listener.maxHeadersCount = 0;
  return listener;
}
