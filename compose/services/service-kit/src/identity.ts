/**
 * Who a service is to the others: mTLS with a certificate that it makes itself.
 *
 * The installer gives each service one file (installer/site/identities.ts): the key and certificate of an
 * authority that may name this service only, and the site's roots. With it the service makes a leaf that
 * lives a day, in memory. No timer renews it: each new connection asks for the leaf of now, and once half
 * of its life is over, or the host's clock has moved away from it, that is a new one. So no authority runs,
 * a clock that jumps breaks nothing, and connections under way are not touched.
 *
 * OpenSSL checks chain, times and name constraints of both ends. Left to say here is which service may be
 * at the other end; a leaf names exactly one.
 */
import { constants, createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Agent, type AgentOptions } from "node:https";
import {
  type ConnectionOptions,
  createSecureContext,
  type SecureContext,
  type Server,
  type TLSSocket,
  type TlsOptions,
} from "node:tls";
import { writeCertificate } from "./certificate.ts";
import { SettingsError } from "./settings.ts";

const LIFE_MS = 24 * 60 * 60_000;
/** For two clocks that differ a little; inside one host they do not. */
const BACKDATE_MS = 5 * 60_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const FILE_MAX_BYTES = 64 * 1024;

/** The DNS name of a service, and the common name of its certificates. Nothing resolves it. */
export function internalName(service: string): string {
  return `${service}.sealift.internal`;
}

/** The common name of the authority that a service has over its own name. */
export function authorityName(service: string): string {
  return `authority of ${service}`;
}

/** TLS options of a server that only some services may use. It serves nobody before `guard` was called. */
export interface PeerTls extends TlsOptions {
  /**
   * Call once, when `server` has its listeners: they get the connections of allowed services, the others
   * end as `tlsClientError` with the code PEER_NOT_ALLOWED.
   */
  guard(server: Server): void;
}

export interface IdentityOptions {
  readonly now?: () => number;
  readonly lifeMs?: number;
  /** Age at which a leaf is replaced; half of its life. */
  readonly renewAfterMs?: number;
}

interface Leaf {
  readonly context: SecureContext;
  readonly madeAt: number;
}

export class Identity {
  readonly service: string;
  readonly #authority: { readonly name: string; readonly privateKey: KeyObject };
  readonly #chain: string;
  readonly #roots: readonly string[];
  readonly #options: Required<IdentityOptions>;
  #leaf: Leaf | undefined;

  private constructor(service: string, pem: string, options: IdentityOptions) {
    this.service = service;
    const { privateKey, authority, roots } = parseIdentity(service, pem);
    this.#authority = { name: authorityName(service), privateKey };
    this.#chain = authority.toString();
    this.#roots = roots.map(String);
    const { now = Date.now, lifeMs = LIFE_MS, renewAfterMs = lifeMs / 2 } = options;
    this.#options = { now, lifeMs, renewAfterMs };
  }

  /** Reads the identity of `service` and makes its first leaf. @throws SettingsError, or what reading throws */
  static async open(path: string, service: string, options: IdentityOptions = {}): Promise<Identity> {
    return Identity.of(service, await readFile(path, "latin1"), options);
  }

  /** As `open`, of what such a file holds. @throws SettingsError */
  static of(service: string, pem: string, options: IdentityOptions = {}): Identity {
    const identity = new Identity(service, pem, options);
    identity.context();
    return identity;
  }

  /** The service's certificate and key of now, and whom it trusts. For one new connection: do not keep it. */
  context(): SecureContext {
    const now = this.#options.now();
    const age = now - (this.#leaf?.madeAt ?? Number.NEGATIVE_INFINITY);
    if (!this.#leaf || age < 0 || age >= this.#options.renewAfterMs) this.#leaf = this.#makeLeaf(now);
    return this.#leaf.context;
  }

  /** TLS options of a server for `clients`: TLS 1.3 only, and every connection shows a certificate. */
  serverOptions(clients: readonly string[]): PeerTls {
    let isGuarded = false;
    return {
      minVersion: "TLSv1.3",
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      // A resumed session would skip the checks of the certificate.
      secureOptions: constants.SSL_OP_NO_TICKET,
      // Asked at each handshake. A client that sends no name gets no certificate, hence no connection.
      SNICallback: (name, answer) => {
        if (!isGuarded) answer(refusal("SERVER_NOT_GUARDED", "nobody decides who may connect"));
        else if (name !== internalName(this.service))
          answer(refusal("PEER_WANTS_ANOTHER", "got another service's name"));
        else answer(null, this.context());
      },
      guard: (server) => {
        guardServer(server, new Set(clients));
        isGuarded = true;
      },
    };
  }

  /** TLS options to connect to `service` with. May be kept: each connection that uses them asks for the leaf of now. */
  clientOptions(service: string): ConnectionOptions {
    const context = (): SecureContext => this.context();
    return {
      minVersion: "TLSv1.3",
      servername: internalName(service),
      rejectUnauthorized: true,
      get secureContext() {
        return context();
      },
      checkServerIdentity: (_, { subjectaltname }) =>
        subjectaltname === altNames(service) ? undefined : notAllowed(subjectaltname),
    };
  }

  /** An agent for HTTPS to `service`, under whatever host name a request is made. */
  agent(service: string, options: AgentOptions = {}): Agent {
    const agent = new Agent({ ...options, maxCachedSessions: 0 });
    const connect = agent.createConnection.bind(agent);
    const tls = this.clientOptions(service);
    // Not given to the agent: it would read the leaf of now once and keep it.
    agent.createConnection = (given, done) => connect({ ...given, ...tls }, done);
    return agent;
  }

  #makeLeaf(now: number): Leaf {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const certificate = writeCertificate({
      subject: internalName(this.service),
      names: [internalName(this.service)],
      publicKey,
      issuer: this.#authority,
      notBefore: new Date(now - BACKDATE_MS),
      notAfter: new Date(now + this.#options.lifeMs),
      purposes: ["server", "client"],
    });
    const context = createSecureContext({
      key: privateKey.export({ type: "pkcs8", format: "pem" }),
      cert: certificate + this.#chain,
      ca: [...this.#roots],
      minVersion: "TLSv1.3",
    });
    return { context, madeAt: now };
  }
}

/** By connection, as its handshake said: a certificate is read once, not for each request. */
const PEERS = new WeakMap<TLSSocket, string>();

/** The service at the other end of a connection that a guarded server accepted. */
export function peerService(socket: TLSSocket): string | undefined {
  return PEERS.get(socket);
}

function serviceOf(names: string | undefined): string {
  return /^DNS:([a-z0-9-]+)\.sealift\.internal$/.exec(names ?? "")?.[1] ?? "";
}

/** As Node writes the alternative names of a leaf that names `service` and nothing else. */
function altNames(service: string): string {
  return `DNS:${internalName(service)}`;
}

function refusal(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

function notAllowed(names: string | undefined): Error {
  return refusal("PEER_NOT_ALLOWED", `a certificate for ${JSON.stringify(names)} is not wanted here`);
}

function guardServer(server: Server, clients: ReadonlySet<string>): void {
  const handlers = server.listeners("secureConnection") as ((socket: TLSSocket) => void)[];
  server.removeAllListeners("secureConnection");
  server.on("secureConnection", (socket) => {
    const names = socket.getPeerX509Certificate()?.subjectAltName;
    const service = serviceOf(names);
    if (socket.authorized && clients.has(service)) {
      PEERS.set(socket, service);
      for (const handler of handlers) handler.call(server, socket);
      return;
    }
    const error = notAllowed(names);
    socket.destroy();
    server.emit("tlsClientError", error, socket);
  });
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The file of an identity: a key, the certificate of its authority, one or more roots. @throws SettingsError */
function parseIdentity(
  service: string,
  pem: string,
): { readonly privateKey: KeyObject; readonly authority: X509Certificate; readonly roots: readonly X509Certificate[] } {
  const refuse = (problem: string): SettingsError => new SettingsError([`identity of ${service}: ${problem}`]);
  if (pem.length > FILE_MAX_BYTES) throw refuse(`want at most ${FILE_MAX_BYTES} bytes`);
  const { privateKey, certificates } = readPem(pem, refuse);
  const [authority, ...roots] = certificates;
  if (!authority || roots.length === 0) throw refuse("want the authority's certificate and a root's");
  if (!authority.checkPrivateKey(privateKey)) throw refuse("the key is not the one of the first certificate");
  if (authority.subject !== `CN=${authorityName(service)}`) throw refuse("it is another service's");
  if (!roots.some((root) => authority.verify(root.publicKey))) throw refuse("none of its roots signed it");
  return { privateKey, authority, roots };
}

function readPem(
  pem: string,
  refuse: (problem: string) => SettingsError,
): { readonly privateKey: KeyObject; readonly certificates: readonly X509Certificate[] } {
  try {
    const certificates = [...pem.matchAll(PEM_CERTIFICATE)].map(([text]) => new X509Certificate(text));
    // Of a key that is none a certificate says so only when it is asked.
    for (const { publicKey } of certificates) publicKey.asymmetricKeyType;
    return { privateKey: createPrivateKey(pem), certificates };
  } catch {
    // OpenSSL's own words may hold bytes of the file.
    throw refuse("want PEM: a private key and certificates");
  }
}
