/** What of each source comes through. */
import {
  type Allowed,
  boolean,
  CODE,
  DIGEST,
  either,
  ID,
  list,
  map,
  NAME,
  namesOnly,
  nothing,
  number,
  object,
  oneOf,
  PATH,
  TIME,
  text,
  VERSION,
} from "./allowed.ts";

const SEVERITY = oneOf("degraded", "mismatch", "unknown");
const STATUS = oneOf("pass", "fail", "not-checked");
const COLOUR = oneOf("blue", "green");
/** Names of services and of members of a file: keys of an object. */
const KEY = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;
const REFERENCE = text(/^127\.83\.76\.1:5000\/[a-z0-9/-]{1,120}@sha256:[0-9a-f]{64}$/);
const SIZE = either(number, text(/^\d{1,12}[bkmg]?$/i));

const deployment = object({
  id: ID,
  release: DIGEST,
  appliance: NAME,
  version: VERSION,
  colour: COLOUR,
  config: DIGEST,
  base: DIGEST,
  containers: DIGEST,
});

export const DEPLOYMENTS: Allowed = object({
  schemaVersion: number,
  current: either(nothing, deployment),
  previous: either(nothing, deployment),
  securityFloor: either(nothing, VERSION),
  data: either(nothing, object({ appliance: NAME, version: VERSION })),
});

/** A message may say how a file is called or what a program wrote: only those that hold neither come through. */
const OWN_WORDS: readonly string[] = [
  "FSCK_FILE_MISSING",
  "FSCK_IMAGE_MISSING",
  "FSCK_SECRET_MISSING",
  "FSCK_SWITCH_DIFFERS",
  "FSCK_TAG_MISSING",
  "JOURNAL_INCOMPLETE",
  "SITE_DISK_SHORT",
];
const finding = object({ check: NAME, code: CODE, severity: SEVERITY });

export const FSCK: Allowed = object({
  siteId: ID,
  content: boolean,
  checks: list(object({ check: NAME, status: STATUS })),
  omitted: number,
  findings: list((value) => {
    const { code, message } = value as { readonly code: string; readonly message: string };
    return { ...(finding(value) as object), ...(OWN_WORDS.includes(code) && { message }) };
  }),
});

export const STATUS_OF_SITE: Allowed = object({
  state: oneOf("healthy", "degraded", "unknown", "not-installed"),
  problems: (value) => (Array.isArray(value) ? value.length : undefined),
  warnings: (value) => (Array.isArray(value) ? value.length : undefined),
  containers: list(object({ project: NAME, service: NAME, healthy: boolean, failed: boolean, restarts: number })),
  front: object({ answer: object({ release: VERSION, colour: COLOUR, milliseconds: number }) }),
});

export const DOCTOR: Allowed = list(object({ check: NAME, status: STATUS }));

export const LEDGER_ENTRY: Allowed = object({
  seq: number,
  time: TIME,
  bootId: text(/^[0-9a-f-]{36}$/),
  uptimeMs: number,
  type: NAME,
  data: object({ action: NAME, operation: NAME, result: NAME, journal: DIGEST, release: DIGEST }),
});

export const JOURNAL_RECORD: Allowed = object({
  type: oneOf("begin", "intent", "outcome", "recover", "end"),
  time: TIME,
  operation: NAME,
  step: NAME,
  outcome: oneOf("done", "failed", "undone"),
  direction: oneOf("forward", "back"),
  result: oneOf("committed", "restored"),
});

export const ENGINE_FACTS: Allowed = object({
  version: text(/^[0-9A-Za-z.+~:-]{1,60}$/),
  apiVersion: text(/^\d+\.\d+$/),
  store: oneOf("classic", "containerd"),
  storageDriver: NAME,
  architecture: NAME,
  cgroupVersion: text(/^\d$/),
  rootDirectory: PATH,
});

/** Of `GET /info`. */
export const ENGINE_INFO: Allowed = object({
  ...Object.fromEntries(
    ["Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images", "NCPU", "MemTotal"].map(
      (name) => [name, number],
    ),
  ),
  ...Object.fromEntries(
    ["MemoryLimit", "PidsLimit", "LiveRestoreEnabled", "OomKillDisable"].map((name) => [name, boolean]),
  ),
  CgroupDriver: oneOf("systemd", "cgroupfs"),
  KernelVersion: text(/^\d+\.\d+[0-9A-Za-z.+~_-]{0,60}$/),
  LoggingDriver: NAME,
});

const stateOfContainer = object({
  Status: oneOf("created", "running", "paused", "restarting", "removing", "exited", "dead"),
  ...Object.fromEntries(["Running", "Paused", "Restarting", "OOMKilled", "Dead"].map((name) => [name, boolean])),
  ExitCode: number,
  StartedAt: TIME,
  FinishedAt: TIME,
  Health: object({ Status: oneOf("none", "starting", "healthy", "unhealthy"), FailingStreak: number }),
});

/** Of `GET /containers/{id}/json`: neither its command, nor its environment, nor what a health check wrote. */
export const CONTAINER: Allowed = object({
  Name: text(/^\/sealift-[0-9a-f]{8}-(?:base|blue|green|rehearsal|rehearsal-next)-[a-z0-9-]{1,80}$/),
  Created: TIME,
  Image: DIGEST,
  RestartCount: number,
  State: stateOfContainer,
  Config: object({
    Image: REFERENCE,
    User: text(/^\d{1,10}(?::\d{1,10})?$/),
    Labels: object({
      "com.docker.compose.project": NAME,
      "com.docker.compose.service": NAME,
      "sealift.site": ID,
      "sealift.release": DIGEST,
      "sealift.colour": COLOUR,
    }),
  }),
  HostConfig: object({
    ...Object.fromEntries(
      ["Memory", "MemoryReservation", "PidsLimit", "NanoCpus", "ShmSize"].map((name) => [name, number]),
    ),
    ...Object.fromEntries(
      ["Privileged", "ReadonlyRootfs", "AutoRemove", "PublishAllPorts"].map((name) => [name, boolean]),
    ),
    CapAdd: list(text(/^(?:CAP_)?[A-Z_]{3,30}$/)),
    CapDrop: list(text(/^(?:CAP_)?[A-Z_]{3,30}$/)),
    SecurityOpt: list(oneOf("no-new-privileges", "no-new-privileges:true")),
    RestartPolicy: object({ Name: oneOf("no", "always", "unless-stopped", "on-failure"), MaximumRetryCount: number }),
    LogConfig: object({ Type: NAME }),
  }),
  Mounts: list(object({ Type: oneOf("bind", "volume", "tmpfs"), Destination: PATH, RW: boolean })),
});

const service = object({
  image: REFERENCE,
  user: text(/^\d{1,10}(?::\d{1,10})?$/),
  read_only: boolean,
  init: boolean,
  cap_drop: list(text(/^[A-Z_]{3,30}$/)),
  security_opt: list(text(/^no-new-privileges:true$/)),
  mem_limit: SIZE,
  mem_reservation: SIZE,
  shm_size: SIZE,
  pids_limit: number,
  cpus: either(number, text(/^\d+(?:\.\d+)?$/)),
  restart: NAME,
  stop_signal: text(/^SIG[A-Z0-9]{2,10}$/),
  stop_grace_period: text(/^\d{1,6}(?:ms|s|m)$/),
  ports: list(text(/^[0-9.]{7,15}:\d{1,5}:\d{1,5}$/)),
  profiles: list(NAME),
  networks: namesOnly(KEY),
  depends_on: namesOnly(KEY),
  /** Names only: a value is a setting of the site's, and whoever edits a template may think of worse. */
  environment: namesOnly(/^[A-Z][A-Z0-9_]{0,63}$/),
  secrets: list(object({ source: NAME, target: PATH })),
  volumes: list(object({ type: NAME, target: PATH, read_only: boolean })),
});

/** A rendered Compose file. It never holds a secret, only where its file lies. */
export const COMPOSE: Allowed = object({
  name: NAME,
  services: map(KEY, service),
  networks: map(KEY, object({ name: NAME, internal: boolean, external: boolean })),
  volumes: map(KEY, object({ name: NAME, external: boolean })),
  secrets: map(KEY, object({ file: PATH })),
});

/** A setting that is a number or a switch; of any other only that there is one. */
export const CONFIG: Allowed = map(KEY, (value) => number(value) ?? boolean(value) ?? "left out");
