/** What the API for clients works with, opened from the settings. */
import { openAuditClient } from "@sealift/service-kit/audit-client.ts";
import { Identity } from "@sealift/service-kit/identity.ts";
import type { Log } from "@sealift/service-kit/log.ts";
import { openPeer } from "@sealift/service-kit/peer-client.ts";
import { PrincipalSigner, readPrincipalKeys } from "@sealift/service-kit/principal.ts";
import { readSecret } from "@sealift/service-kit/settings.ts";
import type { Database } from "./database/database.ts";
import { openIdentities } from "./database/identities.ts";
import { readMigrations } from "./database/migration-files.ts";
import { readUsage, recordUsage, USAGE_SCHEMA_VERSION } from "./database/usage.ts";
import { piiInspector } from "./pii-inspector.ts";
import { RefusalThrottle } from "./refusal-throttle.ts";
import { RequestRoom } from "./request-room.ts";
import type { ServeMeans } from "./serve.ts";
import type { ApiSettings } from "./settings.ts";
import { Settlements } from "./settlements.ts";
import { TokenBuckets } from "./token-buckets.ts";
import { openUpstream } from "./upstream.ts";

export interface Api {
  readonly means: ServeMeans;
  /** After the last request: waits for what is still to be recorded. */
  close(): Promise<void>;
}

/** The longest that a model may say nothing: a large one on a small machine thinks for minutes. */
const MODEL_SILENCE_MS = 300_000;
/** Beyond the time in which a new audit service takes over from the old one. */
const AUDIT_TIMEOUT_MS = 10_000;
const AUDIT_ANSWER_MAX_BYTES = 1024 * 1024;
const PII_TIMEOUT_MS = 10_000;
const PEER_SOCKETS_MAX = 32;
const PII_ANSWER_MAX_BYTES = 16 * 1024 * 1024;
/** 512 requests, and what they may hold of the container's memory. */
const REQUESTS_MAX = 512;
const BYTES_MAX = 96 * 1024 * 1024;
/** Failed logins from one address: a whole office may be behind it. */
const FAILURES = { burst: 200, perSecond: 20, max: 10_000 };
/** Of one key, and of all who have none. */
const RECORDED_REFUSALS = { burst: 200, perSecond: 10, max: 10_000 };
const KEYS_MAX = 10_000;
const USAGE_DAYS = 30;
const SETTLEMENTS_MAX = 4_096;

/** @throws SettingsError, and whatever a secret's file fails with */
export async function openApi(settings: ApiSettings, release: string, database: Database, log: Log): Promise<Api> {
  const { limits } = settings;
  const [identity, pepper, recordKey, [auditKey], [piiKey]] = await Promise.all([
    Identity.open(settings.identityFile, "gateway"),
    readSecret(settings.pepperFile),
    readSecret(settings.recordKeyFile),
    readPrincipalKeys(settings.auditPrincipalKeyFile),
    readPrincipalKeys(settings.piiPrincipalKeyFile),
  ]);
  const sockets = { keepAlive: true, maxSockets: PEER_SOCKETS_MAX };
  const pii = openPeer({
    agent: identity.agent("pii", sockets),
    origin: settings.pii,
    timeoutMs: PII_TIMEOUT_MS,
    answerMaxBytes: PII_ANSWER_MAX_BYTES,
  });
  const audit = openPeer({
    agent: identity.agent("audit", sockets),
    origin: settings.audit,
    timeoutMs: AUDIT_TIMEOUT_MS,
    answerMaxBytes: AUDIT_ANSWER_MAX_BYTES,
  });
  const signer = new PrincipalSigner("audit", auditKey);
  const recorder = openAuditClient({ peer: audit, service: "gateway", signer });
  const settlements = new Settlements({ recorder, log, pendingMax: SETTLEMENTS_MAX });
  const hasUsage = (await readMigrations()).length >= USAGE_SCHEMA_VERSION;
  const used = hasUsage ? recordUsage(database, { log }) : undefined;
  const upstream = openUpstream({ origin: settings.upstream, silenceMs: MODEL_SILENCE_MS });
  return {
    means: {
      identities: openIdentities(database, { pepper }),
      failures: new TokenBuckets(FAILURES),
      rates: new TokenBuckets({
        burst: limits.requestsPerMinute,
        perSecond: limits.requestsPerMinute / 60,
        max: KEYS_MAX,
      }),
      room: new RequestRoom({
        requestsMax: REQUESTS_MAX,
        requestsMaxOfKey: limits.requestsAtOnce,
        bytesMax: BYTES_MAX,
      }),
      inspector: piiInspector(pii, new PrincipalSigner("pii", piiKey)),
      limits,
      recorder,
      refusals: new RefusalThrottle(new TokenBuckets(RECORDED_REFUSALS)),
      settlements,
      upstream,
      ...(used && { usage: { add: used.add, read: (login) => readUsage(database, login, USAGE_DAYS) } }),
      context: { release, recordKey },
      log,
    },
    async close() {
      await Promise.all([settlements.stop(), used?.stop()]);
      upstream.close();
      pii.close();
      audit.close();
    },
  };
}
