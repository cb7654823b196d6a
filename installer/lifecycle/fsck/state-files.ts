/** Every name below the state directory: what it is, whose, and that nobody else can write or read it. */
import { type Dirent, lstatSync, readdirSync, type Stats } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { SPOOL } from "../../backup/spool.ts";
import { STATE_DIRECTORIES } from "../../site/state.ts";
import type { CheckLog } from "./check-log.ts";
import { fsckError } from "./error.ts";
import type { FsckGround } from "./ground.ts";

const TOP_NAMES: readonly string[] = [...STATE_DIRECTORIES, "failed", "ledger", "lock", "lost+found"];
const STORE_NAME = /^[0-9a-f]{64}(?:\.statement-[0-9a-f]{16}\.json)?$/;
/** What `writeWhole`, the store and the release trust call what is not whole yet. */
const WORK_NAME = /^(?:\..+\.new|\.[0-9a-f]{64}\.(?:staging|removed|replaced)|\.incoming)$/;
/** No secrets: the front reads its switch, clients the certificate of the authority, anybody what chip vendors publish. */
const READABLE = /^(?:switch(?:\/.*)?|site\/client-ca\.pem|site\/collateral\/.*)$/;
/** Compared with what the release says: stored-releases.ts, secrets.ts. Or copies of such, while an operation needs them. */
const JUDGED_ELSEWHERE = /^(?:store\/[0-9a-f]{64}|secrets|site\/certificate-before|site\/rotation)\/./;

export function checkStateFiles({ paths, isOperationOpen }: FsckGround, log: CheckLog): void {
  const { directory } = paths;
  for (const name of STATE_DIRECTORIES) {
    const stat = lstatSync(join(directory, name), { throwIfNoEntry: false });
    if (!stat) log.find(name, missing(join(directory, name)));
  }
  for (const name of namesIn(directory, log)) {
    if (!TOP_NAMES.includes(name) && !WORK_NAME.test(name)) log.find(name, unknown(join(directory, name)));
  }
  const pending = [directory];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    const here = relative(directory, at);
    for (const entry of log.attempt(here || ".", () => entriesIn(at as string)) ?? []) {
      const path = join(at, entry.name);
      const stat = lstatSync(path, { throwIfNoEntry: false });
      // Gone since: another process is at work.
      if (!stat) continue;
      const name = relative(directory, path);
      if (entry.name === "lost+found" && here === "") continue;
      judge(log, path, name, stat);
      if (WORK_NAME.test(entry.name) && !isOperationOpen) log.find(name, leftover(path));
      else if (here === "store" && !STORE_NAME.test(entry.name)) log.find(name, unknown(path));
      if (stat.isDirectory()) pending.push(path);
    }
  }
}

function entriesIn(path: string): Dirent[] {
  return readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function namesIn(path: string, log: CheckLog): string[] {
  return log.attempt(".", () => readdirSync(path).sort()) ?? [];
}

function judge(log: CheckLog, path: string, name: string, stat: Stats): void {
  if (!stat.isFile() && !stat.isDirectory()) {
    const what = stat.isSymbolicLink() ? "a symbolic link" : "neither a file nor a directory";
    const hints = ["Sealift puts none there and follows none: find out who did, and put back what it stands for"];
    log.find(name, fsckError("FSCK_FILE_TYPE", `${JSON.stringify(path)}: is ${what}`, { hints }));
    return;
  }
  const isPrivate = !READABLE.test(name);
  const tooMany = stat.mode & (isPrivate ? 0o077 : 0o022);
  const owner = process.geteuid?.() ?? 0;
  const isOwned = stat.uid === 0 || stat.uid === owner;
  if (stat.isFile() && JUDGED_ELSEWHERE.test(name)) return;
  if (tooMany === 0 && isOwned) return;
  const mode = stat.isDirectory() ? (isPrivate ? "700" : "755") : isPrivate ? "600" : "644";
  const got = `${(stat.mode & 0o7777).toString(8)} of uid ${stat.uid}`;
  log.find(
    name,
    fsckError("FSCK_FILE_MODE", `${JSON.stringify(path)}: got mode ${got}, want ${mode} of root`, {
      hints: [
        "find out who changed it before you go on",
        ...typed(path, `chmod ${mode}`),
        ...typed(path, "chown root"),
      ],
    }),
  );
}

function missing(path: string): ReturnType<typeof fsckError> {
  return fsckError("FSCK_FILE_MISSING", `${JSON.stringify(path)}: is not there`, {
    hints: typed(path, basename(path) === "switch" ? "install -d -m 755" : "install -d -m 700"),
  });
}

function unknown(path: string): ReturnType<typeof fsckError> {
  return fsckError("FSCK_UNKNOWN_FILE", `${JSON.stringify(path)}: Sealift puts nothing of this name there`, {
    hints: ["find out whose it is, and keep it elsewhere"],
  });
}

function leftover(path: string): ReturnType<typeof fsckError> {
  const isForRecover = basename(dirname(path)) === "store" || basename(path) === SPOOL;
  return fsckError("FSCK_LEFTOVER", `${JSON.stringify(path)}: is work that did not end`, {
    hints: isForRecover ? ["sealift recover puts it right"] : typed(path, "rm -r"),
  });
}

/** A command with a path, if a shell takes the path as it is. */
function typed(path: string, command: string): string[] {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(path) ? [`${command} ${path}`] : [];
}
