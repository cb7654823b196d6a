/** Instances of the audit service on one log, in this process, and a service that appends to them. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type RunningAudit, startAudit } from "../../../../compose/services/audit/src/service.ts";
import { type AuditSettings, readSettings } from "../../../../compose/services/audit/src/settings.ts";
import type { LogFields } from "../../../../compose/services/service-kit/src/log.ts";
import { openPeer, type Peer, PeerError } from "../../../../compose/services/service-kit/src/peer-client.ts";
import { scratch } from "../../../support/scratch.ts";
import { type TestIdentities, testIdentities } from "../../../support/test-identities.ts";
import { principalKeyFile } from "../../../support/test-principals.ts";
import { ORIGIN, testKey } from "./audit-directory.ts";

/** A test, or whatever else ends some time. */
interface Context {
  after(work: () => Promise<void>): void;
}

export interface AuditGround {
  /** Of the log. */
  readonly directory: string;
  readonly identities: TestIdentities;
  /** Event names with their fields, of all instances. */
  readonly logged: [string, LogFields][];
  readonly environment: Readonly<Record<string, string>>;
  start(settings?: Partial<AuditSettings>): Promise<RunningAudit>;
}

/** Everything that is started is stopped when the test ends. */
export async function auditGround(t: Context): Promise<AuditGround> {
  const root = await scratch(t);
  const directory = join(root, "log");
  await mkdir(directory);
  const identities = testIdentities(root);
  const keyFile = join(root, "checkpoint-key.pem");
  await writeFile(keyFile, testKey.export({ format: "pem", type: "pkcs8" }));
  const environment = {
    LISTEN_HOST: "127.0.0.1",
    LISTEN_PORT: "0",
    ADMIN_PORT: "0",
    DRAIN_TIMEOUT_MS: "100",
    IDENTITY_FILE: identities.path("audit"),
    LOG_DIRECTORY: directory,
    CHECKPOINT_KEY_FILE: keyFile,
    PRINCIPAL_KEY_FILE: principalKeyFile(root, "audit"),
    LOG_ORIGIN: ORIGIN,
  };
  const logged: [string, LogFields][] = [];
  return {
    directory,
    identities,
    logged,
    environment,
    async start(settings = {}) {
      const audit = await startAudit({ ...readSettings(environment), ...settings }, (_, event, fields = {}) => {
        logged.push([event, fields]);
      });
      t.after(async () => void (await audit.stop()));
      return audit;
    },
  };
}

export async function until(what: () => boolean | Promise<boolean>, withinMs = 5_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await what())) {
    if (performance.now() > deadline) throw new Error(`did not come true within ${withinMs} ms: ${what}`);
    await sleep(5);
  }
}

/** `service` asking whichever of `ports` answers, as it would ask all addresses of one name. */
export async function peerOf(
  t: Context,
  identities: TestIdentities,
  service: string,
  ports: () => readonly (number | undefined)[],
): Promise<Peer> {
  const identity = await identities.open(service);
  const peers = new Map<number, Peer>();
  const peer = (port: number): Peer => {
    const known = peers.get(port);
    if (known) return known;
    const made = openPeer({
      agent: identity.agent("audit", { keepAlive: true }),
      origin: new URL(`https://127.0.0.1:${port}`),
      timeoutMs: 5_000,
      answerMaxBytes: 1024 * 1024,
    });
    peers.set(port, made);
    return made;
  };
  t.after(async () => {
    for (const made of peers.values()) made.close();
  });
  return {
    async post(path, body, requestId) {
      let failure: unknown = new PeerError("NOBODY_LISTENS");
      for (const port of ports()) {
        if (port === undefined) continue;
        try {
          return await peer(port).post(path, body, requestId);
        } catch (cause) {
          failure = cause;
          if (cause instanceof PeerError && cause.status !== undefined && cause.status < 500) break;
        }
      }
      throw failure;
    },
    close: () => {},
  };
}
