/** The operation that changes who may move the site. */
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { type Authority, parseAuthority } from "../site/authority.ts";
import { readStateFile, writeWhole } from "../site/disk.ts";
import { STATE_DOCUMENT_MAX_BYTES } from "../site/state.ts";
import type { PlanSubject } from "./authorization.ts";
import type { Ground } from "./execute.ts";
import { appendEntry, lastOfType, readLedger } from "./ledger.ts";
import { AUTHORITY_CHANGED, authorityBytes } from "./site.ts";
import type { OperationKind, Parameters } from "./step.ts";

/** What operators sign for the change from `before` to `after`. */
export function planOperatorChange(before: Authority, after: Authority): PlanSubject {
  const difference = (from: Authority, to: Authority, word: string): string[] =>
    to.document.operators
      .filter((line) => !from.document.operators.includes(line))
      .map((line) => `${word} operator ${line}`);
  return {
    action: "operator",
    from: before.digest,
    to: after.digest,
    configDigest: null,
    policyDigest: null,
    trustVersion: null,
    details: [
      ...difference(after, before, "remove"),
      ...difference(before, after, "add"),
      ...recipientLines(before, after),
    ],
  };
}

function recipientLines({ backupRecipients: before }: Authority, { backupRecipients: after }: Authority): string[] {
  return [
    ...before.filter((key) => !after.includes(key)).map((key) => `backups to come are no more sealed for ${key}`),
    ...after.filter((key) => !before.includes(key)).map((key) => `backups to come are sealed for ${key}`),
  ];
}

export function operatorChangeParameters(before: Authority, after: Authority): Parameters {
  return { before: before.document, after: after.document };
}

export const operatorChange: OperationKind<Ground> = {
  name: "operator-change",
  steps: ({ paths, disk, clock }, parameters) => {
    const before = parseAuthority(parameters["before"]);
    const after = parseAuthority(parameters["after"]);
    const onDisk = () => digestOf(readStateFile(paths.authority, STATE_DOCUMENT_MAX_BYTES) ?? "");
    return [
      {
        name: "write-authority",
        intent: `replace authority ${before.digest} by ${after.digest}`,
        isCommit: true,
        do: async () => writeWhole(disk, paths.authority, authorityBytes(after)),
        undo: async () => {
          if (onDisk() !== before.digest) writeWhole(disk, paths.authority, authorityBytes(before));
        },
        probe: async () => {
          const digest = onDisk();
          if (digest === after.digest) return "done";
          return digest === before.digest ? "not-done" : "unknown";
        },
      },
      {
        name: "record-authority",
        intent: "write the new authority into the ledger",
        do: async () => {
          if (!isRecorded(paths.ledger, after)) {
            appendEntry(disk, paths.ledger, AUTHORITY_CHANGED, { authority: after.document }, clock());
          }
        },
        undo: async () => {},
        probe: async () => (isRecorded(paths.ledger, after) ? "done" : "not-done"),
      },
    ];
  },
};

function isRecorded(ledger: string, authority: Authority): boolean {
  const entry = lastOfType(readLedger(ledger), AUTHORITY_CHANGED);
  return entry !== undefined && digestOf(canonicalJson(entry.data["authority"])) === authority.digest;
}
