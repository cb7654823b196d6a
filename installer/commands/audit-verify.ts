import { plain } from "../../bundles/model/plain-text.ts";
import { CHECKPOINT_MAX_BYTES, parseLogKey } from "../audit/checkpoint.ts";
import { verifyAuditLog } from "../audit/verify-log.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { type Command, optionalOption, positionals } from "./command.ts";

const NAME = "audit verify";
const KEY_MAX_BYTES = 4096;

export const auditVerify: Command = {
  name: NAME,
  summary: "check an audit log from its directory alone: every entry, every hash, the signed checkpoint",
  usage: "DIR [--key PUB] [--from CHECKPOINT]",
  details: [
    "--key PUB           the log's public key: Ed25519 in PEM, or a signed note's verifier key",
    "--from CHECKPOINT   an older checkpoint that was kept outside: the log must be its continuation",
    "Needs no service and no network. Exit 3 if anything does not hold. Without --key nobody says who made",
    "the checkpoint; without --from a log that was rewound or replaced as a whole is not found out.",
  ],
  options: { key: { type: "string" }, from: { type: "string" } },
  run: async (invocation) => {
    const [directory = ""] = positionals(invocation, NAME, "DIR");
    const { terminal } = invocation;
    const keyPath = optionalOption(invocation, "key");
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
    const log = verifyAuditLog(directory, { key, from, onProgress });
    progress.done(`${log.entries}`);
    const notChecked = [
      ...(log.isSignatureChecked ? [] : ["who made the checkpoint (--key)"]),
      ...(log.continues === undefined ? ["whether the log was rewound or replaced as a whole (--from)"] : []),
      ...(log.behindCheckpoint > 0
        ? [`${log.behindCheckpoint} entries behind the checkpoint, which the service covers when it goes on or ends`]
        : []),
    ];
    terminal.result(`log ${plain(log.origin)}: ${log.entries} entries, root ${log.root}`);
    terminal.result(
      `first ${plain(log.firstTime ?? "none")}, last ${plain(log.lastTime ?? "none")}, by the senders' clocks`,
    );
    if (log.continues !== undefined) terminal.result(`continues the checkpoint of ${log.continues} entries`);
    for (const what of notChecked) terminal.result(`not checked: ${what}`);
    terminal.result("the log holds");
    terminal.document({ holds: true, ...log, notChecked });
    return 0;
  },
};
