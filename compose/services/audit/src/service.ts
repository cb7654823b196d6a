/**
 * The audit service put together. It is one of several at times: a standby until it has the directory's
 * lock, then the writer, who alone listens for appends; and retired once another has taken the log over.
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { Identity, peerService } from "@sealift/service-kit/identity.ts";
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { PROBLEMS, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import { type Route, type RunningServer, startServer } from "@sealift/service-kit/server.ts";
import { AuditLog } from "./audit-log.ts";
import type { CheckpointSigner } from "./checkpoint.ts";
import { DirectoryLock } from "./directory-lock.ts";
import { EventLog } from "./event-log.ts";
import { eventRoutes } from "./event-routes.ts";
import { askForLog, type Door, openDoor, type Predecessor } from "./hand-over.ts";
import { type AuditSettings, readCheckpointKey } from "./settings.ts";

/** Who may append. */
const CLIENTS = ["gateway", "pii"];
const LOCK_POLL_MS = 20;

/** `failed`: the log cannot be opened, and a person has to look before it is written to again. */
type Role = "standby" | "writer" | "retired" | "failed";

export interface RunningAudit {
  readonly adminPort: number;
  /** Of the listener for appends; undefined while another instance has the log. */
  readonly port: number | undefined;
  readonly role: Role;
  /** Resolves to whether all that was acknowledged here is under a checkpoint. */
  stop(): Promise<boolean>;
}

/** Resolves when health can be asked; the log may be another's still. @throws SettingsError */
export async function startAudit(settings: AuditSettings, log: Log): Promise<RunningAudit> {
  const identity = await Identity.open(settings.identityFile, "audit");
  const privateKey = await readCheckpointKey(settings.checkpointKeyFile);
  const instance = new Instance(
    settings,
    identity,
    {
      origin: settings.origin ?? originOf(privateKey),
      privateKey,
    },
    log,
  );
  const { host, adminPort } = settings;
  const admin = await startServer({ host, port: adminPort, drainTimeoutMs: 0, log, routes: adminRoutes(instance) });
  const ended = instance.run();
  return {
    adminPort: admin.port,
    get port() {
      return instance.port;
    },
    get role() {
      return instance.role;
    },
    async stop() {
      instance.stop();
      const clean = await ended;
      await admin.stop();
      return clean;
    },
  };
}

/** A name that no other log has: its key is no other's. */
function originOf(key: KeyObject): string {
  const der = createPublicKey(key.export({ format: "pem", type: "pkcs8" })).export({ format: "der", type: "spki" });
  return `audit.sealift.internal/${createHash("sha256").update(der).digest("hex").slice(0, 16)}`;
}

/** What a writer has. */
interface Tenure {
  readonly lock: DirectoryLock;
  readonly log: AuditLog;
  readonly server: RunningServer;
  readonly door: Door;
}

class Instance {
  readonly #settings: AuditSettings;
  readonly #identity: Identity;
  readonly #signer: CheckpointSigner;
  readonly #log: Log;
  readonly #stopping = new AbortController();
  readonly #draining: Promise<boolean>[] = [];
  #isCheckpointed = true;
  #tenure: Tenure | undefined;
  role: Role = "standby";

  constructor(settings: AuditSettings, identity: Identity, signer: CheckpointSigner, log: Log) {
    this.#settings = settings;
    this.#identity = identity;
    this.#signer = signer;
    this.#log = log;
  }

  get port(): number | undefined {
    return this.#tenure?.server.port;
  }

  get auditLog(): AuditLog | undefined {
    return this.#tenure?.log;
  }

  stop(): void {
    this.#stopping.abort();
  }

  /** Resolves when it was told to stop, to whether all that was acknowledged here is under a checkpoint. */
  async run(): Promise<boolean> {
    const stopped = new Promise<void>((resolve) => {
      this.#stopping.signal.addEventListener("abort", () => resolve());
    });
    // Who handed the log over only waits for it to come back: it does not ask for it.
    for (let mayAsk = true; ; mayAsk = false) {
      const tenure = await this.#begin(mayAsk);
      if (!tenure) break;
      const successor = await Promise.race([tenure.door.successor, stopped]);
      await this.#end(tenure);
      if (!successor) break;
      if (await successor.released()) {
        this.role = "retired";
        this.#log("info", "log-handed-over");
        break;
      }
      this.#log("warn", "log-not-taken");
    }
    await stopped;
    await Promise.all(this.#draining);
    return this.#isCheckpointed;
  }

  /** Waits for the log and serves it. Undefined if it was told to stop, or if the log cannot be opened. */
  async #begin(mayAsk: boolean): Promise<Tenure | undefined> {
    const had = await this.#waitForLock(mayAsk);
    if (!had) return undefined;
    const started = performance.now();
    try {
      this.#tenure = await this.#serve(had.lock);
    } catch (cause) {
      had.lock.release();
      had.predecessor?.giveUp();
      this.role = "failed";
      // The messages are our own or the system's, about files: there is no content in them.
      this.#log("error", "log-not-opened", { code: errorCode(cause), reason: String(cause) });
      return undefined;
    }
    had.predecessor?.taken();
    this.role = "writer";
    const { size } = this.#tenure.log;
    this.#log("info", "log-opened", { size, durationMs: Math.round(performance.now() - started) });
    return this.#tenure;
  }

  async #waitForLock(
    mayAsk: boolean,
  ): Promise<{ readonly lock: DirectoryLock; readonly predecessor: Predecessor | undefined } | undefined> {
    let predecessor: Predecessor | undefined;
    while (!this.#stopping.signal.aborted) {
      const lock = DirectoryLock.tryTake(this.#settings.directory);
      if (lock) return { lock, predecessor };
      if (mayAsk) predecessor ??= await askForLog(this.#settings.directory, this.#stopping.signal);
      await sleep(LOCK_POLL_MS);
    }
    predecessor?.giveUp();
    return undefined;
  }

  async #serve(lock: DirectoryLock): Promise<Tenure> {
    const { directory, checkpointEntries, checkpointMs, host, port, drainTimeoutMs } = this.#settings;
    const log = await AuditLog.open({
      directory,
      signer: this.#signer,
      log: this.#log,
      checkpointEntries,
      checkpointMs,
    });
    try {
      const events = await EventLog.open(log);
      const server = await startServer({
        host,
        port,
        tls: this.#identity.serverOptions(CLIENTS),
        drainTimeoutMs,
        log: this.#log,
        routes: eventRoutes(events, ({ socket }) => peerService(socket as TLSSocket)),
      });
      return { lock, log, server, door: await openDoor(directory) };
    } catch (cause) {
      await log.close();
      throw cause;
    }
  }

  /** What was taken becomes durable and gets under a checkpoint; then the log is anybody's. */
  async #end({ lock, log, server, door }: Tenure): Promise<void> {
    this.role = "standby";
    door.close();
    // Idle clients are told with their next request, long after the log has another writer.
    this.#draining.push(server.stop());
    this.#isCheckpointed = await log.close();
    lock.release();
    this.#tenure = undefined;
  }
}

function adminRoutes(instance: Instance): Route[] {
  const route = (path: string, isWell: () => boolean): Route => ({
    method: "GET",
    path,
    quiet: true,
    handle: ({ response, requestId }) => {
      const { role, auditLog } = instance;
      const state = { role, state: auditLog?.state, size: auditLog?.size, checkpointSize: auditLog?.checkpointSize };
      if (isWell()) sendJson(response, 200, { status: "ok", ...state });
      else sendProblem(response, { ...PROBLEMS.notReady, detail: auditLog?.state ?? role }, requestId);
    },
  });
  const isReady = (): boolean => instance.role === "writer" && instance.auditLog?.state === "open";
  return [route("/healthz", () => true), route("/readyz", isReady), route("/canary", isReady)];
}
