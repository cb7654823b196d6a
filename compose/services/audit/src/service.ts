/**
 * The audit service put together. It is one of several at times: a standby until it has the directory's
 * lock, then the writer, who alone listens for appends; and retired once another has taken the log over.
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { access, constants } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { Identity, peerService } from "@sealift/service-kit/identity.ts";
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { PrincipalVerifier, readPrincipalKeys } from "@sealift/service-kit/principal.ts";
import { PROBLEMS, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import { type Route, type RunningServer, startServer } from "@sealift/service-kit/server.ts";
import { SettingsError } from "@sealift/service-kit/settings.ts";
import { SpentPrincipals } from "@sealift/service-kit/spent-principals.ts";
import { AuditLog } from "./audit-log.ts";
import { CheckpointError, type CheckpointSigner } from "./checkpoint.ts";
import { checkpointRoute } from "./checkpoint-route.ts";
import { DirectoryLock } from "./directory-lock.ts";
import { beginEpoch } from "./epoch.ts";
import { INSTALLER } from "./event.ts";
import { EventLog } from "./event-log.ts";
import { eventRoutes } from "./event-routes.ts";
import { askForLog, type Door, openDoor, type Predecessor } from "./hand-over.ts";
import { SegmentDamagedError } from "./segment.ts";
import { type AuditSettings, readCheckpointKey } from "./settings.ts";
import { TreeDamagedError } from "./tile-tree.ts";

/** Who may append, each its own types of events. What pii finds, the gateway records. */
const CLIENTS = ["gateway", INSTALLER];
const LOCK_POLL_MS = 20;
/** Until the log is tried again that could not be opened, as on a full disk. */
const RETRY_MS = 1_000;

/** `failed`: the log is not what it was, and a person has to look before it is written to again. */
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
  await access(settings.directory, constants.W_OK | constants.X_OK).catch(() => {
    throw new SettingsError(["LOG_DIRECTORY: want a directory that can be written"]);
  });
  const identity = await Identity.open(settings.identityFile, "audit");
  const privateKey = await readCheckpointKey(settings.checkpointKeyFile);
  const instance = new Instance(
    settings,
    {
      identity,
      signer: { origin: settings.origin ?? originOf(privateKey), privateKey },
      verifier: new PrincipalVerifier("audit", await readPrincipalKeys(settings.principalKeyFile)),
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

/** Whether going on could hide what was changed. Anything else, such as a full disk, passes. */
function isDamage(cause: unknown): boolean {
  return [CheckpointError, TreeDamagedError, SegmentDamagedError].some((kind) => cause instanceof kind);
}

interface Secrets {
  readonly identity: Identity;
  readonly signer: CheckpointSigner;
  readonly verifier: PrincipalVerifier;
}

interface Held {
  readonly lock: DirectoryLock;
  readonly predecessor: Predecessor | undefined;
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
  readonly #secrets: Secrets;
  readonly #log: Log;
  readonly #stopping = new AbortController();
  readonly #draining: Promise<boolean>[] = [];
  #isCheckpointed = true;
  #tenure: Tenure | undefined;
  role: Role = "standby";

  constructor(settings: AuditSettings, secrets: Secrets, log: Log) {
    this.#settings = settings;
    this.#secrets = secrets;
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
    // Who handed the log over, or could not open it, waits for it and does not ask for it again.
    for (let mayAsk = true; !this.#stopping.signal.aborted && this.role === "standby"; mayAsk = false) {
      const tenure = await this.#begin(mayAsk);
      if (!tenure) continue;
      const successor = await Promise.race([tenure.door.successor, stopped]);
      await this.#end(tenure);
      if (!successor) break;
      if (await successor.released()) {
        this.role = "retired";
        this.#log("info", "log-handed-over");
      } else {
        this.#log("warn", "log-not-taken");
      }
    }
    await stopped;
    await Promise.all(this.#draining);
    return this.#isCheckpointed;
  }

  /** Waits for the log and serves it. Undefined if it was told to stop, or if the log could not be opened. */
  async #begin(mayAsk: boolean): Promise<Tenure | undefined> {
    let had: Held | undefined;
    try {
      had = await this.#waitForLock(mayAsk);
      if (!had) return undefined;
      this.#tenure = await this.#serve(had.lock);
    } catch (cause) {
      had?.lock.release();
      had?.predecessor?.giveUp();
      if (isDamage(cause)) this.role = "failed";
      // The messages are our own or the system's, about files: there is no content in them.
      this.#log("error", "log-not-opened", { code: errorCode(cause), reason: String(cause), again: !isDamage(cause) });
      if (!isDamage(cause)) await sleep(RETRY_MS, undefined, { signal: this.#stopping.signal }).catch(() => {});
      return undefined;
    }
    had.predecessor?.taken();
    this.role = "writer";
    this.#log("info", "log-opened", { size: this.#tenure.log.size });
    return this.#tenure;
  }

  async #waitForLock(mayAsk: boolean): Promise<Held | undefined> {
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
    const { identity, signer, verifier } = this.#secrets;
    const log = await AuditLog.open({
      directory,
      signer,
      log: this.#log,
      checkpointEntries,
      checkpointMs,
    });
    try {
      const predecessor = await beginEpoch(log, directory, new Date());
      if (predecessor) this.#log("info", "log-epoch-begun", { epoch: predecessor.epoch, before: predecessor.size });
      const events = await EventLog.open(log);
      const serviceOf = ({ socket }: IncomingMessage): string | undefined => peerService(socket as TLSSocket);
      const server = await startServer({
        host,
        port,
        tls: identity.serverOptions(CLIENTS),
        drainTimeoutMs,
        log: this.#log,
        routes: [
          ...eventRoutes({ events, verifier, spent: new SpentPrincipals(), log: this.#log, serviceOf }),
          checkpointRoute({ auditLog: log, log: this.#log, serviceOf }),
        ],
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
