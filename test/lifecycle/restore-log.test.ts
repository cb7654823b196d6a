/** A site's own audit log that is damaged, before its data is restored beside it: told, and left as it is. */
import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { SiteLog } from "../../installer/audit/site-log.ts";
import { entriesSince } from "../../installer/lifecycle/restore-log.ts";
import { entry, openLog, testKey } from "../compose/services/audit/audit-directory.ts";
import { scratch } from "../support/scratch.ts";

const AT_BACKUP = 300;
const NOW = 700;
const BEHIND = 5;

interface Logs {
  readonly place: SiteLog & { readonly publicKey: string };
  /** As it is unpacked from a backup. */
  readonly ofBackup: string;
}

/** A log, and a copy of it when it was shorter. */
async function logs(t: TestContext): Promise<Logs> {
  const directory = await scratch(t);
  const own = join(directory, "log");
  const log = await openLog(own);
  await log.append(Array.from({ length: AT_BACKUP }, (_, i) => entry(i)));
  await log.checkpoint();
  const ofBackup = join(directory, "audit-log");
  cpSync(own, ofBackup, { recursive: true });
  await log.append(Array.from({ length: NOW - AT_BACKUP }, (_, i) => entry(AT_BACKUP + i)));
  await log.checkpoint();
  await log.append(Array.from({ length: BEHIND }, (_, i) => entry(NOW + i)));
  await log.close();
  const publicKey = join(directory, "audit.pub");
  const pem = testKey.export({ type: "pkcs8", format: "pem" });
  writeFileSync(publicKey, createPublicKey(pem).export({ type: "spki", format: "pem" }));
  return { place: { directory: own, publicKey }, ofBackup };
}

/** Every file with what is in it. */
function content(directory: string): Readonly<Record<string, string>> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  const paths = files.map((one) => join(one.parentPath, one.name)).sort();
  return Object.fromEntries(paths.map((path) => [path, readFileSync(path, "latin1")]));
}

function refusal(work: () => unknown): SealiftError {
  try {
    work();
  } catch (cause) {
    assert.ok(cause instanceof SealiftError, String(cause));
    return cause;
  }
  return assert.fail("it was taken");
}

test("a whole log that continues the backup's is counted to its end", async (t) => {
  const { place, ofBackup } = await logs(t);
  assert.ok(entriesSince(place, ofBackup) >= NOW);
});

test("beside the data of a backup without a log the present one is counted too, and has to hold", async (t) => {
  const { place } = await logs(t);
  assert.ok(entriesSince(place, undefined) >= NOW);
  truncateSync(join(place.directory, "tile/entries/000"), 1000);
  const { code, hints } = refusal(() => entriesSince(place, undefined));
  assert.match(code, /^AUDIT_/);
  assert.match(hints.join("\n"), /backup --out DIR --without-audit-log/);
});

const DAMAGES: Readonly<Record<string, readonly [code: RegExp, damage: (logs: Logs) => void]>> = {
  "an entry bundle is cut off": [
    /^AUDIT_/,
    ({ place }) => truncateSync(join(place.directory, "tile/entries/000"), 1000),
  ],
  "an entry bundle is gone": [
    /^AUDIT_LOG_INCOMPLETE$/,
    ({ place }) => rmSync(join(place.directory, "tile/entries/001")),
  ],
  "a tile of hashes is cut off": [/^AUDIT_/, ({ place }) => truncateSync(join(place.directory, "tile/0/000"), 64)],
  "the checkpoint is cut off": [
    /^AUDIT_CHECKPOINT_MALFORMED$/,
    ({ place }) => truncateSync(join(place.directory, "checkpoint"), 20),
  ],
  "the checkpoint is gone": [/^AUDIT_LOG_NOT_FOUND$/, ({ place }) => rmSync(join(place.directory, "checkpoint"))],
  "all of it is gone": [/^AUDIT_LOG_NOT_FOUND$/, ({ place }) => rmSync(place.directory, { recursive: true })],
  "its key is gone": [/^AUDIT_LOG_NOT_FOUND$/, ({ place }) => rmSync(place.publicKey)],
  "its key is no key": [/^AUDIT_/, ({ place }) => writeFileSync(place.publicKey, "damaged")],
  "it was put back to before the backup": [
    /^AUDIT_LOG_REWOUND$/,
    ({ place, ofBackup }) => {
      const newer = readFileSync(join(place.directory, "checkpoint"));
      rmSync(place.directory, { recursive: true });
      cpSync(ofBackup, place.directory, { recursive: true });
      writeFileSync(join(ofBackup, "checkpoint"), newer);
    },
  ],
};

for (const [what, [code, damage]] of Object.entries(DAMAGES)) {
  test(`no data is restored beside a log that does not hold: ${what}`, async (t) => {
    const made = await logs(t);
    damage(made);
    const before = content(join(made.place.directory, ".."));
    const error = refusal(() => entriesSince(made.place, made.ofBackup));
    assert.match(error.code, code);
    assert.match(
      error.hints.join("\n"),
      /copy the log's volume away.*\n.*--without-audit-log.*\n.*uninstall --purge-data.*restore FILE --bundle/,
    );
    assert.deepEqual(content(join(made.place.directory, "..")), before);
  });
}

test("no data is restored where the site's log is not found at all", async (t) => {
  const { ofBackup } = await logs(t);
  assert.equal(refusal(() => entriesSince(undefined, ofBackup)).code, "AUDIT_LOG_NOT_FOUND");
});
