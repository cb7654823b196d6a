import { plain } from "../../bundles/model/plain-text.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { createSite } from "../lifecycle/site.ts";
import { parseSigners, SIGNERS_MAX_BYTES, type Signer } from "../site/allowed-signers.ts";
import { ACTIONS, type Action, isAction, makeAuthority } from "../site/authority.ts";
import { parseSshKey, type SshKey } from "../site/ssh-key.ts";
import {
  type Command,
  type Invocation,
  optionalOption,
  positionals,
  repeatedOption,
  requiredOption,
  usageError,
} from "./command.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

const NAME = "site init";

export const siteInit: Command = {
  name: NAME,
  summary: "make this host a site: who may move it, and how many of them must agree",
  usage:
    "--operators FILE [--threshold ACTION=M…] [--recovery-key PUB] [--reviewers FILE] [--backup-recipients FILE] [--state DIR]",
  details: [
    '--operators FILE      each line: NAME namespaces="sealift-authorization" ssh-ed25519 AAAA… (ssh-keygen, ALLOWED SIGNERS)',
    `--threshold ACTION=M  how many operators must sign (default 1); actions: ${ACTIONS.join(", ")}`,
    "--recovery-key PUB    a public key whose private half lies offline: it may replace operators, nothing else",
    "--reviewers FILE      keys that are known and move nothing; lines as of operators",
    "--backup-recipients FILE  age public keys (age1…), one a line: who has a private half opens this site's backups",
  ],
  options: {
    operators: { type: "string" },
    threshold: { type: "string", multiple: true },
    "recovery-key": { type: "string" },
    reviewers: { type: "string" },
    "backup-recipients": { type: "string" },
    ...STATE_OPTION,
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const operators = await readSigners(requiredOption(invocation, NAME, "operators"));
    const reviewersFile = optionalOption(invocation, "reviewers");
    const reviewers = reviewersFile === undefined ? [] : await readSigners(reviewersFile);
    const recoveryFile = optionalOption(invocation, "recovery-key");
    const recoveryKey = recoveryFile === undefined ? undefined : await readKey(recoveryFile);
    const recipientsFile = optionalOption(invocation, "backup-recipients");
    const backupRecipients = recipientsFile === undefined ? [] : await readRecipients(recipientsFile);
    const parts = { operators, reviewers, thresholds: thresholds(invocation), recoveryKey, backupRecipients };
    const authority = makeAuthority(parts, 1);
    const directory = stateDirectory(invocation);
    const { siteId } = createSite(directory, authority);
    terminal.result(`site ${siteId} in ${plain(directory)}`);
    for (const { principal, key } of operators)
      terminal.result(`  operator ${principal}  ${key.type} ${key.fingerprint}`);
    if (!recoveryKey)
      terminal.note("note: no recovery key; if the operators' keys are lost, nobody can move this site");
    if (backupRecipients.length === 0)
      terminal.note(
        "note: no backup recipients; name them with sealift operator recipients FILE before sealift backup",
      );
    terminal.result("Next: sealift ledger export --out FILE, and let each operator keep it elsewhere");
    terminal.document({
      siteId,
      state: directory,
      authority: authority.digest,
      operators: operators.map(({ principal, key }) => ({ principal, type: key.type, fingerprint: key.fingerprint })),
      thresholds: authority.document.thresholds,
      recoveryKey: recoveryKey?.fingerprint ?? null,
      backupRecipients,
    });
    return 0;
  },
};

/** @throws AUTHORITY_MALFORMED | SSH_KEY_MALFORMED | FILE_NOT_FOUND */
export async function readSigners(path: string): Promise<Signer[]> {
  return parseSigners((await readBoundedFile(path, SIGNERS_MAX_BYTES)).toString("utf8"), path);
}

/** Age itself is loaded only where somebody names its keys. @throws BACKUP_RECIPIENT_MALFORMED | FILE_NOT_FOUND */
export async function readRecipients(path: string): Promise<string[]> {
  const { KEY_FILE_MAX_BYTES, recipientsIn } = await import("../backup/age-file.ts");
  return recipientsIn((await readBoundedFile(path, KEY_FILE_MAX_BYTES)).toString("utf8"), path);
}

async function readKey(path: string): Promise<SshKey> {
  const [type = "", base64 = ""] = (await readBoundedFile(path, SIGNERS_MAX_BYTES))
    .toString("utf8")
    .trim()
    .split(/\s+/);
  return parseSshKey(type, base64, path);
}

function thresholds(invocation: Invocation): Partial<Record<Action, number>> {
  const found: Partial<Record<Action, number>> = {};
  for (const text of repeatedOption(invocation, "threshold")) {
    const [, action = "", count = ""] = /^([a-z]+)=([1-9][0-9]{0,2})$/.exec(text) ?? [];
    if (!isAction(action) || found[action] !== undefined) {
      throw usageError(
        NAME,
        `--threshold: got ${JSON.stringify(text)}, want ACTION=M once, ACTION of ${ACTIONS.join(", ")}`,
      );
    }
    found[action] = Number(count);
  }
  return found;
}
