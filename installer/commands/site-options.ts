/** What the verbs of a site have in common: where it is, and the authorization to change it. */
import { resolve } from "node:path";
import { plain } from "../../bundles/model/plain-text.ts";
import { tellAuditLog } from "../audit/tell-audit-log.ts";
import { readBoundedFile, requireReadable } from "../host/read-file.ts";
import {
  type Authorization,
  checkAuthorization,
  makeRequest,
  type PlanSubject,
  REQUEST_MAX_BYTES,
  type RequestOptions,
  type SignatureFile,
} from "../lifecycle/authorization.ts";
import { acquireLock } from "../lifecycle/lock.ts";
import { openSiteForChange, type Site } from "../lifecycle/site.ts";
import { signWithSshKeygen } from "../lifecycle/ssh-keygen.ts";
import { SIGNATURE_MAX_BYTES } from "../lifecycle/sshsig.ts";
import { DEFAULT_STATE, openState, statePaths } from "../site/state.ts";
import { askSignatures, type Resume } from "../ui/ask-signatures.ts";
import { type Invocation, optionalOption, repeatedOption, usageError } from "./command.ts";
import { withLazyEngine } from "./site-engine.ts";

export const STATE_OPTION = { state: { type: "string" } } as const;

/** Absolute, because it goes into the Compose files, and Compose runs elsewhere. */
export function stateDirectory(invocation: Invocation): string {
  return resolve(optionalOption(invocation, "state") ?? DEFAULT_STATE);
}

export const REQUEST_OPTIONS = {
  reason: { type: "string" },
  "valid-for": { type: "string" },
  "confirm-clock": { type: "boolean" },
} as const;

export const REQUEST_DETAILS = [
  "--reason TEXT         stands in the plan that is signed, and in the ledger",
  "--valid-for HOURS     how long the request may be used (default 24, at most 720)",
  "--confirm-clock       the clock jumped, and the operator signs that it is right",
];

export const AUTHORIZATION_OPTIONS = {
  ...REQUEST_OPTIONS,
  request: { type: "string" },
  authorization: { type: "string", multiple: true },
  key: { type: "string", multiple: true },
} as const;

export const AUTHORIZATION_DETAILS = [
  "--key FILE            sign at once: a private key, or the .pub of a key in the agent or on a FIDO token",
  "--request FILE        the request that others signed, with --authorization FILE.sig for each signature",
  "                      with neither, a terminal asks which key shall sign",
  ...REQUEST_DETAILS,
];

const DEFAULT_HOURS = 24;
const HOURS_MAX = 720;

/** @throws USAGE */
export function requestOptions(invocation: Invocation, command: string): RequestOptions {
  const hours = optionalOption(invocation, "valid-for") ?? String(DEFAULT_HOURS);
  if (!/^[1-9][0-9]{0,2}$/.test(hours) || Number(hours) > HOURS_MAX) {
    throw usageError(command, `--valid-for: got ${JSON.stringify(hours)}, want hours from 1 to ${HOURS_MAX}`);
  }
  return {
    reason: optionalOption(invocation, "reason") ?? "",
    lifetimeMs: Number(hours) * 3_600_000,
    confirmClock: invocation.options["confirm-clock"] === true,
  };
}

/** Runs `work` on the site under its lock. @throws LOCK_HELD and what `openSiteForChange` throws */
export async function withSite<Value>(
  invocation: Invocation,
  what: string,
  work: (site: Site) => Promise<Value>,
): Promise<Value> {
  const directory = stateDirectory(invocation);
  openState(directory);
  const lock = acquireLock(statePaths(directory).lock, what);
  try {
    if (lock.abandoned) {
      const { what: before, since } = lock.abandoned;
      invocation.terminal.note(`note: ${JSON.stringify(before)} of ${since} ended without releasing the lock`);
    }
    const site = openSiteForChange(directory);
    try {
      return await work(site);
    } finally {
      await tellLedger(invocation, site);
    }
  } finally {
    lock.release();
  }
}

/** What a verb wrote into the ledger goes into the audit log too, if it did well or not. Never fails. */
export async function tellLedger({ terminal }: Pick<Invocation, "terminal">, site: Site): Promise<void> {
  const why = await withLazyEngine(site, (engine) => tellAuditLog(site, engine));
  if (why === undefined) return;
  terminal.note(plain(`note: the audit log was not told what is new in the ledger: ${why}`));
  terminal.note("note: the next command that changes the site tells it");
}

/**
 * What a person named wrongly is said before a medium is read for minutes, not after.
 * @throws USAGE if both ways to authorize are mixed; FILE_NOT_FOUND | FILE_UNREADABLE
 */
export function requireNamedFiles(invocation: Invocation, command: string): void {
  requireOneWay(invocation, command);
  for (const name of ["config", "request"]) {
    const path = optionalOption(invocation, name);
    if (path !== undefined) requireReadable(path);
  }
  for (const path of repeatedOption(invocation, "authorization")) requireReadable(path);
}

function requireOneWay(invocation: Invocation, command: string): void {
  const hasRequest = optionalOption(invocation, "request") !== undefined;
  if (hasRequest && repeatedOption(invocation, "key").length > 0)
    throw usageError(command, "--key makes its own request: it does not go with --request");
  if (!hasRequest && repeatedOption(invocation, "authorization").length > 0)
    throw usageError(command, "--authorization needs the --request that was signed");
}

/**
 * The operators' authorization for `subject`: from files, or signed at once, or asked for on a terminal;
 * there it may be the request alone that is written, for others to sign, and the result is undefined.
 * `askedConfig` is a configuration that the next call would have to ask for again.
 * @throws AUTHORIZATION_… as `checkAuthorization`; USAGE if both ways are mixed; Stopped
 */
export async function obtainAuthorization(
  invocation: Invocation,
  command: string,
  site: Site,
  subject: PlanSubject,
  askedConfig?: string,
): Promise<Authorization | undefined> {
  requireOneWay(invocation, command);
  const requestFile = optionalOption(invocation, "request");
  const keys = repeatedOption(invocation, "key");
  const files = repeatedOption(invocation, "authorization");
  if (requestFile !== undefined) {
    const request = await readBoundedFile(requestFile, REQUEST_MAX_BYTES);
    return checkAuthorization(site, subject, request, await readSignatures(files));
  }
  const { terminal } = invocation;
  const request = makeRequest(site, subject, requestOptions(invocation, command));
  if (keys.length === 0 && terminal.interactive) {
    const resume: Resume = {
      command: typedAgain(invocation, command),
      ...(askedConfig !== undefined && { config: askedConfig }),
    };
    const asked = await askSignatures(terminal, site, subject, request, resume);
    return asked && checkAuthorization(site, subject, request, asked);
  }
  const signatures: SignatureFile[] = [];
  for (const key of keys) {
    signatures.push({ name: key, bytes: await signWithSshKeygen(request, key, terminal.interactive) });
  }
  return checkAuthorization(site, subject, request, signatures);
}

/** Options that stand in the request, or that the next call shall not have. */
const NOT_AGAIN = ["json", "no-color", "yes", "help", "plan", ...Object.keys(REQUEST_OPTIONS)];

/** The command line, as words that a shell takes as they are. */
function typedAgain({ args, options }: Invocation, command: string): string {
  const words = Object.entries(options).flatMap(([name, value]) => {
    if (NOT_AGAIN.includes(name)) return [];
    if (value === true) return [`--${name}`];
    return typeof value === "string" ? [`--${name}`, value] : [];
  });
  return ["sealift", command, ...[...args, ...words].map(quoted)].join(" ");
}

function quoted(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

async function readSignatures(files: readonly string[]): Promise<SignatureFile[]> {
  return Promise.all(files.map(async (name) => ({ name, bytes: await readBoundedFile(name, SIGNATURE_MAX_BYTES) })));
}

/** How many must sign, in words. */
export function missingApprovals(site: Site, subject: PlanSubject): string {
  return `needs ${site.authority.document.thresholds[subject.action]} of ${
    new Set(site.authority.operators.map(({ principal }) => principal)).size
  } operators`;
}
