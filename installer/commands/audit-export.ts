import { closeSync, fsyncSync, openSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileExists } from "../../bundles/model/file-exists.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { CHECKPOINT_MAX_BYTES, parseCheckpoint, parseLogKey } from "../audit/checkpoint.ts";
import {
  type EntryFilter,
  EXPORT_FORMATS,
  type ExportFormat,
  exportHead,
  exportLine,
  FILTER_MEMBERS,
  type FilterMember,
} from "../audit/export-log.ts";
import { type LogVerification, verifyAuditLog } from "../audit/verify-log.ts";
import { installerError } from "../error.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { AUDIT_PLACE_OPTIONS, auditPlace } from "./audit-place.ts";
import { type Command, type Invocation, optionalOption, requiredOption, usageError } from "./command.ts";

const NAME = "audit export";
const KEY_MAX_BYTES = 4096;
const CHUNK_CHARACTERS = 256 * 1024;
const OPTION_OF: Readonly<Record<FilterMember, string>> = {
  tenant: "tenant",
  actor: "actor",
  key: "api-key",
  type: "type",
  decision: "decision",
  model: "model",
  requestId: "request",
};
/** RFC 3339 with a zone: a local time would be another instant on another machine. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/;

export const auditExport: Command = {
  name: NAME,
  summary: "write entries of an audit log into a file for other programs, after the whole log was checked",
  usage: "[DIR] --out FILE [--format jsonl|csv] [filters] [--key PUB] [--checkpoint] [--state DIR]",
  details: [
    "DIR                   the log or a copy of it; without it the log of this host's site (--state)",
    "--out FILE            the log's checkpoint goes beside it, into FILE.checkpoint",
    "--format F            jsonl (default): number, hash and event of each; csv: RFC 4180, for a spreadsheet",
    "--since TIME --until TIME   from, and before (RFC 3339, by the senders' clocks)",
    "--tenant, --actor, --api-key ID   as `tenant list --json` and `api-key list --json` tell them",
    "--type, --decision, --model NAME, --request ID   of the event, exactly",
    "--key PUB             the log's public key; without it nobody says who made the checkpoint",
    "--checkpoint          first the site's audit service, which must run, signs all that it has",
    "Entries behind the last checkpoint are left out: the next one covers them, within about a minute.",
  ],
  options: {
    out: { type: "string" },
    format: { type: "string" },
    since: { type: "string" },
    until: { type: "string" },
    key: { type: "string" },
    ...Object.fromEntries(Object.values(OPTION_OF).map((name) => [name, { type: "string" } as const])),
    ...AUDIT_PLACE_OPTIONS,
  },
  run: async (invocation) => {
    const out = requiredOption(invocation, NAME, "out");
    const format = formatOf(invocation);
    const filter = filterOf(invocation);
    const { directory, publicKey } = await auditPlace(invocation, NAME);
    const keyPath = optionalOption(invocation, "key") ?? publicKey;
    const key =
      keyPath === undefined
        ? undefined
        : parseLogKey((await readBoundedFile(keyPath, KEY_MAX_BYTES)).toString("utf8"), keyPath);
    const place = join(directory, "checkpoint");
    const checkpoint = await readBoundedFile(place, CHECKPOINT_MAX_BYTES);
    // A log that grows meanwhile has a later one, which this one does not vouch for.
    const { size } = parseCheckpoint(checkpoint, place);
    const { terminal } = invocation;
    const progress = terminal.progress("checking and writing entries");
    const onProgress = (done: number, all: number): void => progress.update(`${done} of ${all}`);
    const file = new GrowingFile(out);
    let log: LogVerification;
    try {
      file.write(exportHead(format));
      const onEntry = (entry: Buffer, index: number): void => {
        const line = index >= size ? undefined : exportLine(entry, index, format, filter);
        if (line !== undefined) file.writeEntry(line);
      };
      log = verifyAuditLog(directory, { key, from: { note: checkpoint, name: place }, onProgress, onEntry });
      file.close();
      await writeNew(`${out}.checkpoint`, checkpoint);
    } catch (cause) {
      file.remove();
      throw cause;
    }
    progress.done(`${file.entries} of ${size}`);
    terminal.result(`${file.entries} of ${size} entries written to ${plain(out)}`);
    terminal.result(`the log's checkpoint: ${plain(out)}.checkpoint`);
    if (key === undefined) terminal.result("not checked: who made the checkpoint (--key)");
    const behindCheckpoint = log.entries + log.behindCheckpoint - size;
    if (behindCheckpoint > 0) terminal.result(`left out: ${behindCheckpoint} entries behind the checkpoint`);
    const { origin } = log;
    terminal.document({ out, format, written: file.entries, origin, entries: size, behindCheckpoint });
    return 0;
  },
};

function formatOf(invocation: Invocation): ExportFormat {
  const given = optionalOption(invocation, "format") ?? "jsonl";
  const format = EXPORT_FORMATS.find((known) => known === given);
  if (format) return format;
  throw usageError(NAME, `--format: got ${JSON.stringify(given)}, want ${EXPORT_FORMATS.join(" or ")}`);
}

function filterOf(invocation: Invocation): EntryFilter {
  const given = FILTER_MEMBERS.flatMap((member) => {
    const value = optionalOption(invocation, OPTION_OF[member]);
    return value === undefined ? [] : [[member, value] as const];
  });
  const [since, until] = [timeOf(invocation, "since"), timeOf(invocation, "until")];
  return { members: Object.fromEntries(given), ...(since && { since }), ...(until && { until }) };
}

function timeOf(invocation: Invocation, name: "since" | "until"): Date | undefined {
  const text = optionalOption(invocation, name);
  if (text === undefined) return undefined;
  const time = new Date(text);
  if (TIME.test(text) && !Number.isNaN(time.getTime())) return time;
  throw usageError(NAME, `--${name}: got ${JSON.stringify(text)}, want RFC 3339, e.g. 2026-11-21T12:00:00Z`);
}

/** A new file, readable by its owner alone: an audit log says who asked for what. */
class GrowingFile {
  entries = 0;
  readonly #path: string;
  readonly #fd: number;
  #waiting = "";

  /** @throws FILE_EXISTS | FILE_WRITE_FAILED */
  constructor(path: string) {
    this.#path = path;
    this.#fd = this.#guard(() => openSync(path, "wx", 0o600));
  }

  write(text: string): void {
    this.#waiting += text;
    if (this.#waiting.length >= CHUNK_CHARACTERS) this.#flush();
  }

  writeEntry(line: string): void {
    this.write(line);
    this.entries += 1;
  }

  close(): void {
    this.#flush();
    this.#guard(() => {
      fsyncSync(this.#fd);
      closeSync(this.#fd);
    });
  }

  /** What was written of a log that does not hold must not be taken for one that does. */
  remove(): void {
    unlinkSync(this.#path);
  }

  #flush(): void {
    const bytes = Buffer.from(this.#waiting);
    this.#waiting = "";
    this.#guard(() => {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    });
  }

  #guard<Value>(work: () => Value): Value {
    try {
      return work();
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "EEXIST") throw fileExists(this.#path, undefined, cause);
      const reason = reasonOf(cause);
      throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(this.#path)}: ${reason}`, { cause });
    }
  }
}
