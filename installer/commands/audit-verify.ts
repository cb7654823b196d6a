import { plain } from "../../bundles/model/plain-text.ts";
import { CHECKPOINT_MAX_BYTES, parseLogKey } from "../audit/checkpoint.ts";
import { verifyEpochs } from "../audit/epochs.ts";
import { collectLedgerEvents, compareEpochWithLedger, compareWithLedger } from "../audit/ledger-events.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { AUDIT_PLACE_OPTIONS, auditPlace } from "./audit-place.ts";
import { type Command, optionalOption } from "./command.ts";

const NAME = "audit verify";
const KEY_MAX_BYTES = 4096;

export const auditVerify: Command = {
  name: NAME,
  summary: "check an audit log from its directory alone: every entry, every hash, the signed checkpoint",
  usage: "[DIR] [--key PUB] [--from CHECKPOINT] [--checkpoint] [--state DIR]",
  details: [
    "DIR                 the log or a copy of it; without it the log and the key of this host's site (--state)",
    "--key PUB           the log's public key: Ed25519 in PEM, or a signed note's verifier key",
    "--from CHECKPOINT   an older checkpoint that was kept outside: the log must be its continuation",
    "--checkpoint        first the site's audit service, which must run, signs all that it has",
    "Needs no service and no network; without DIR the engine that knows where the log is. Exit 3 if anything does",
    "not hold. Without --key nobody says who made the checkpoint; without --from a log that was rewound or",
    "replaced as a whole is not found out.",
    "After a restore the epochs before are checked too, and that each continues the one before it.",
    "Without DIR the log and the site's ledger are compared too: each holds what the other said.",
  ],
  options: { key: { type: "string" }, from: { type: "string" }, ...AUDIT_PLACE_OPTIONS },
  run: async (invocation) => {
    const { directory, publicKey, site } = await auditPlace(invocation, NAME);
    const { terminal } = invocation;
    const keyPath = optionalOption(invocation, "key") ?? publicKey;
    const fromPath = optionalOption(invocation, "from");
    const key =
      keyPath === undefined
        ? undefined
        : parseLogKey((await readBoundedFile(keyPath, KEY_MAX_BYTES)).toString("utf8"), keyPath);
    const from =
      fromPath === undefined
        ? undefined
        : { note: await readBoundedFile(fromPath, CHECKPOINT_MAX_BYTES), name: fromPath };
    const progress = terminal.progress("checking entries");
    const onProgress = (done: number, all: number): void => progress.update(`${done} of ${all}`);
    const collected = collectLedgerEvents();
    const older = new Map<number, ReturnType<typeof collectLedgerEvents>>();
    const onClosedEntry = (epoch: number, entry: Buffer, index: number): void => {
      const events = older.get(epoch) ?? collectLedgerEvents();
      older.set(epoch, events);
      events.onEntry(entry, index);
    };
    const log = verifyEpochs(directory, { key, from, onProgress, onEntry: collected.onEntry, onClosedEntry });
    progress.done(`${log.entries}`);
    const compared = site && compareWithLedger(site, { ...log, events: collected.events });
    const before = site
      ? log.closed.flatMap((one) => compareEpochWithLedger(site, one, older.get(one.epoch)?.events ?? []))
      : [];
    const notChecked = [
      ...(log.isSignatureChecked ? [] : ["who made the checkpoint (--key)"]),
      ...(log.continues === undefined ? ["whether the log was rewound or replaced as a whole (--from)"] : []),
      ...(log.behindCheckpoint > 0
        ? [`${log.behindCheckpoint} entries behind the checkpoint, which the service covers when it goes on or ends`]
        : []),
      ...(compared?.notChecked ?? []),
    ];
    if (invocation.args.length === 0) terminal.result(`of this site, in ${plain(directory)}; key ${keyPath ?? "none"}`);
    const epoch = log.epoch > 1 ? `, epoch ${log.epoch}` : "";
    terminal.result(`log ${plain(log.origin)}${epoch}: ${log.entries} entries, root ${log.root}`);
    terminal.result(
      `first ${plain(log.firstTime ?? "none")}, last ${plain(log.lastTime ?? "none")}, by the senders' clocks`,
    );
    if (log.continues !== undefined) terminal.result(`continues the checkpoint of ${log.continues} entries`);
    if (compared) terminal.result(`entries of the site's ledger in it: ${compared.compared}`);
    for (const what of notChecked) terminal.result(`not checked: ${what}`);
    for (const { epoch, entries, root } of log.closed) {
      terminal.result(`epoch ${epoch}, closed by a restore: ${entries} entries, root ${root}`);
    }
    const findings = [...(compared?.findings ?? []), ...before];
    for (const { code, message } of findings) terminal.result(plain(`[${code}]: ${message}`));
    const holds = findings.length === 0;
    terminal.result(holds ? "the log holds" : "the log holds by itself, and does NOT agree with the ledger");
    terminal.document({ holds, ...log, notChecked, ledgerEntries: compared?.compared ?? null, findings });
    return holds ? 0 : 3;
  },
};
