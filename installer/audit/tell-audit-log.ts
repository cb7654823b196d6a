/** Tells a site's audit service what is new in the ledger: installer/audit/ledger-events.ts. */
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { containerStates } from "../../compose/engine/project.ts";
import { projectName } from "../../compose/render.ts";
import { type AuditReceipt, openAuditClient } from "../../compose/services/service-kit/src/audit-client.ts";
import { Identity } from "../../compose/services/service-kit/src/identity.ts";
import { openPeer, type Peer } from "../../compose/services/service-kit/src/peer-client.ts";
import { type Ledger, readLedger } from "../lifecycle/ledger.ts";
import { withStoredRelease } from "../lifecycle/stored-release.ts";
import { readDeployments } from "../site/deployment.ts";
import { makeIdentity, openIdentityRoot } from "../site/identities.ts";
import { identityRootPath, type SecretSite } from "../site/secret-makers.ts";
import { eventOf, INSTALLER, readToldMark, writeToldMark } from "./ledger-events.ts";

/** How long an audit service that was started anew is waited for. */
const HOLD_MS = 5_000;
const TIMEOUT_MS = 5_000;
const ANSWER_MAX_BYTES = 1024 * 1024;
/** Noted as told when all of them are durable. */
const BATCH = 256;

/**
 * Nothing if all was told, or if nothing is installed that would take it. Never fails, because what the site did is
 * done: returns why the log was not told, for a person; the next call tells it. MUST be called under the site's lock.
 */
export async function tellAuditLog(site: SecretSite, engine: () => Promise<Engine>): Promise<string | undefined> {
  try {
    const ledger = readLedger(site.paths.ledger);
    const told = readToldMark(site.paths);
    // Rewound or rewritten: `audit verify` must still find what was told.
    const isContinued = told === undefined || ledger.heads[told.length - 1] === told.head;
    const { current } = readDeployments(site.paths);
    if (!current || !isContinued || told?.length === ledger.heads.length) return undefined;
    const service = await withStoredRelease(site.paths, current.release, async ({ rules }) => rules.audit);
    if (!service) return undefined;
    const origin = await originOf(site, await engine(), service);
    // Of a site that was stopped the log hears when it has started again.
    if (origin) await tell(site, { service: service.service, origin }, ledger, told?.length ?? 0);
    return undefined;
  } catch (cause) {
    return reasonOf(cause);
  }
}

/** On a network of the site's, which the host reaches. Undefined if the service does not run. */
async function originOf(
  { siteId }: SecretSite,
  engine: Engine,
  { service, port }: { readonly service: string; readonly port: number },
): Promise<URL | undefined> {
  const states = await containerStates(engine, projectName(siteId, "base"));
  const [address] = states.find((one) => one.service === service)?.addresses.values() ?? [];
  return address === undefined ? undefined : new URL(`https://${address}:${port}`);
}

/**
 * Has the audit service put all that it has under a checkpoint. Never fails: returns why it did not, for a person; then
 * the checkpoint that there is stands.
 */
export async function askCheckpoint(
  site: SecretSite,
  engine: Engine,
  audit: { readonly service: string; readonly port: number },
): Promise<string | undefined> {
  try {
    const origin = await originOf(site, engine, audit);
    if (!origin) return `${audit.service} does not run`;
    await withPeer(site, { service: audit.service, origin }, (peer) => peer.post("/v1/checkpoint", {}, "backup"));
    return undefined;
  } catch (cause) {
    return reasonOf(cause);
  }
}

interface AuditService {
  readonly service: string;
  readonly origin: URL;
}

/** Speaks to it as the site's installer. */
async function withPeer<Value>(
  { disk, paths }: SecretSite,
  { service, origin }: AuditService,
  work: (peer: Peer) => Promise<Value>,
): Promise<Value> {
  const [file] = makeIdentity(
    { service: INSTALLER, directory: INSTALLER, uid: 0 },
    openIdentityRoot(disk, identityRootPath(paths)),
  );
  const identity = Identity.of(INSTALLER, file?.bytes.toString("latin1") ?? "");
  const peer = openPeer({
    agent: identity.agent(service),
    origin,
    timeoutMs: TIMEOUT_MS,
    answerMaxBytes: ANSWER_MAX_BYTES,
  });
  try {
    return await work(peer);
  } finally {
    peer.close();
  }
}

async function tell(site: SecretSite, audit: AuditService, ledger: Ledger, from: number): Promise<void> {
  const { disk, paths } = site;
  await withPeer(site, audit, async (peer) => {
    const client = openAuditClient({ peer, service: INSTALLER, holdMs: HOLD_MS });
    for (let start = from; start < ledger.heads.length; start += BATCH) {
      const entries = ledger.entries.slice(start, start + BATCH);
      const heads = ledger.heads.slice(start, start + BATCH);
      const receipts = await Promise.all(
        entries.map(
          (entry, i): Promise<AuditReceipt> => client.append(eventOf(entry, heads[i] as (typeof heads)[number])),
        ),
      );
      const [head, last] = [heads.at(-1), receipts.at(-1)];
      if (head && last)
        writeToldMark(disk, paths, { schemaVersion: 1, length: start + heads.length, head, index: last.index });
    }
  });
}
