/** A backup as a file: what is written is read again, and nothing else is. */
import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before, describe } from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { digestFromHex } from "../../../bundles/model/digest.ts";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { identitiesIn, makeBackupKey, recipientsIn, sealed } from "../../../installer/backup/age-file.ts";
import { type BackupManifest, MANIFEST_PATH, WHOLE, WITHOUT_LOG } from "../../../installer/backup/backup-manifest.ts";
import { isLogMember, logMembers } from "../../../installer/backup/log-members.ts";
import { openBackup } from "../../../installer/backup/read-backup.ts";
import { logParts, siteContent } from "../../../installer/backup/site-content.ts";
import { memberBytes, tarEnd, tarMember } from "../../../installer/backup/tar-stream.ts";
import {
  type BackupContent,
  backupsIn,
  bytesSource,
  removeOldBackups,
  type WrittenBackup,
  writeBackup,
} from "../../../installer/backup/write-backup.ts";
import { hostDisk } from "../../../installer/site/disk.ts";
import { entry, openLog, testKey } from "../../compose/services/audit/audit-directory.ts";
import { type Fault, FaultyDisk } from "../../support/faulty-disk.ts";
import { makeTestSite, type TestSite } from "../../support/test-site.ts";

const ENTRIES = 700;
const DUMP = Buffer.alloc(200_000, "dump");
const RULES = { database: { service: "postgres", names: ["gateway"] } };

type Key = Awaited<ReturnType<typeof makeBackupKey>>;

async function rejectsCode(code: string, work: () => Promise<unknown>): Promise<SealiftError> {
  let thrown: unknown;
  await assert.rejects(work, (cause) => {
    thrown = cause;
    return cause instanceof SealiftError && cause.code === code ? true : assert.fail(String(cause));
  });
  return thrown as SealiftError;
}

describe("a backup file", () => {
  let directory: string;
  let site: TestSite;
  let key: Key;
  let other: Key;
  let content: BackupContent;
  let written: WrittenBackup;
  let plain: Buffer;
  let log: Awaited<ReturnType<typeof openLog>>;
  let logDirectory: string;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "sealift-test-"));
    site = makeTestSite(directory);
    [key, other] = [await makeBackupKey(), await makeBackupKey()];
    await mkdir(join(site.directory, "secrets/gateway"));
    await writeFile(join(site.directory, "secrets/gateway/password"), "secret", { mode: 0o400 });
    const long = `trust/${"a".repeat(64)}`;
    await mkdir(join(site.directory, long));
    await writeFile(join(site.directory, long, `${"b".repeat(64)}.trusted_root.json`), "{}");
    await writeFile(join(site.directory, "site/.half.new"), "left by a crash");
    await mkdir(join(directory, "dumps"));
    await writeFile(join(directory, "dumps/gateway.dump"), DUMP);
    logDirectory = join(directory, "log");
    log = await openLog(logDirectory);
    await log.append(Array.from({ length: ENTRIES }, (_, i) => entry(i)));
    await log.checkpoint();
    const publicKey = join(directory, "audit.pub");
    await writeFile(
      publicKey,
      createPublicKey(testKey.export({ type: "pkcs8", format: "pem" })).export({ type: "spki", format: "pem" }),
    );
    const logs = logParts({ directory: logDirectory, publicKey });
    // The log goes on: what is behind the checkpoint is not in the backup.
    await log.append(Array.from({ length: 300 }, (_, i) => entry(ENTRIES + i)));
    await log.checkpoint();
    content = siteContent(site.open(), RULES, { directory: join(directory, "dumps"), databaseBytes: 8_000_000 }, logs);
    await mkdir(join(directory, "out"));
    written = await writeBackup(join(directory, "out"), content, { recipients: [key.recipient] });
    const pieces: Uint8Array[] = [];
    const { openSealed } = await import("../../../installer/backup/age-file.ts");
    for await (const piece of (await openSealed(written.path, [key.identity])).plain) pieces.push(piece);
    plain = Buffer.concat(pieces);
  });
  after(async () => {
    await log.close();
    await rm(directory, { recursive: true });
  });

  /** Opens and unpacks `path`, and returns where. */
  async function unpacked(path: string, identity = key.identity): Promise<string> {
    const into = await mkdtemp(join(directory, "unpacked-"));
    await (await openBackup(path, [identity])).unpack(hostDisk, into);
    return into;
  }

  async function resealed(bytes: Uint8Array): Promise<string> {
    const path = join(await mkdtemp(join(directory, "resealed-")), "file.tar.age");
    const pieces: Uint8Array[] = [];
    const source = async function* (): AsyncGenerator<Uint8Array> {
      yield bytes;
    };
    for await (const piece of sealed([key.recipient], source())) pieces.push(piece);
    await writeFile(path, Buffer.concat(pieces));
    return path;
  }

  /** A backup of this manifest and these members, well sealed. */
  async function made(manifest: unknown, members: readonly (readonly [string, Buffer])[]): Promise<string> {
    const pieces: Uint8Array[] = [];
    for (const [path, bytes] of [[MANIFEST_PATH, canonicalJson(manifest)] as const, ...members]) {
      const source = bytesSource(path, bytes);
      for await (const piece of tarMember(source, source.content())) pieces.push(piece);
    }
    return resealed(Buffer.concat([...pieces, tarEnd()]));
  }

  const small = (changes: Partial<BackupManifest> = {}): BackupManifest => ({
    ...written.manifest,
    ...{ files: [], logs: [], databases: [], restBytes: 1024 },
    ...changes,
  });

  test("holds what the site had, up to the checkpoint, and is whole and private", async () => {
    const into = await unpacked(written.path);
    const names = (await readdir(into, { recursive: true, withFileTypes: true }))
      .filter((one) => one.isFile())
      .map((one) => join(one.parentPath, one.name).slice(into.length + 1));
    assert.ok(names.includes("ledger") && names.includes("site/authority.json"));
    assert.ok(names.includes(`trust/${"a".repeat(64)}/${"b".repeat(64)}.trusted_root.json`));
    assert.ok(!names.some((name) => name.includes(".half")));
    assert.deepEqual(await readFile(join(into, "databases/gateway.dump")), DUMP);
    assert.deepEqual(await readFile(join(into, "ledger")), await readFile(join(site.directory, "ledger")));
    assert.match(await readFile(join(into, "audit-log/checkpoint"), "utf8"), new RegExp(`^[^\n]+\n${ENTRIES}\n`));
    const secret = written.manifest.files.find(({ path }) => path === "secrets/gateway/password");
    assert.equal(secret?.mode, 0o400);
    const file = await open(written.path);
    const { mode, size } = await file.stat();
    await file.close();
    assert.deepEqual([mode & 0o777, size], [0o600, written.size]);
    assert.match(written.path, new RegExp(`/sealift-${site.open().siteId}-20261121T0800\\d\\dZ\\.tar\\.age$`));
    assert.ok(!(await readFile(written.path)).includes("secret"), "nothing of it can be read");
  });

  test("opens for each of its recipients and for nobody else", async () => {
    const error = await rejectsCode("BACKUP_KEY_WRONG", () => openBackup(written.path, [other.identity]));
    assert.ok(!error.message.includes("AGE-SECRET"));
    const out = await mkdtemp(join(directory, "out-"));
    const both = await writeBackup(out, content, { recipients: [other.recipient, key.recipient] });
    await unpacked(both.path, other.identity);
    await unpacked(both.path, key.identity);
  });

  test("a changed byte anywhere is found", async () => {
    const path = join(directory, "changed.age");
    const bytes = await readFile(written.path);
    for (const at of [3, 60, 150, 400, 70_000, 140_000, bytes.length - 1]) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      await writeFile(path, changed);
      await assert.rejects(unpacked(path), (cause) => {
        const expected = at < 250 ? /^BACKUP_(?:MALFORMED|KEY_WRONG|DAMAGED)$/ : /^BACKUP_(?:DAMAGED|TRUNCATED)$/;
        return cause instanceof SealiftError && expected.test(cause.code);
      });
    }
  });

  test("an end that is missing is found wherever it is cut, before anything is unpacked", async () => {
    const path = join(directory, "cut.age");
    for (const size of [written.size - 1, written.size - 16, written.size - 70_000, 66_000, 65_536 + 16 + 216]) {
      await writeFile(path, await readFile(written.path));
      await truncate(path, size);
      await rejectsCode("BACKUP_TRUNCATED", () => openBackup(path, [key.identity]));
    }
    for (const size of [0, 100]) {
      await truncate(path, size);
      await rejectsCode("BACKUP_MALFORMED", () => openBackup(path, [key.identity]));
    }
    await rejectsCode("BACKUP_UNREADABLE", () => openBackup(directory, [key.identity]));
    await rejectsCode("BACKUP_UNREADABLE", () => openBackup(join(directory, "nothing"), [key.identity]));
  });

  test("what was damaged before it was sealed is found by the member's own digest", async () => {
    const at = plain.indexOf("dumpdump");
    const changed = Buffer.from(plain);
    changed[at] = 0x44;
    const error = await rejectsCode("BACKUP_DAMAGED", async () => unpacked(await resealed(changed)));
    assert.match(error.message, /^databases\/gateway\.dump: got sha256:/);
  });

  test("a log that does not hold is found", async () => {
    const changed = Buffer.from(plain);
    const at = plain.indexOf("entry-500");
    changed[at + 6] = 0x39;
    await rejectsCode("AUDIT_ENTRY_CHANGED", async () => unpacked(await resealed(changed)));
    const logs = written.manifest.logs.map((one) => ({ ...one, size: one.size - 1 }));
    const rest = plain.subarray(memberBytes(canonicalJson(written.manifest).length));
    const manifest = bytesSource(MANIFEST_PATH, canonicalJson({ ...written.manifest, logs }));
    const pieces: Uint8Array[] = [];
    for await (const piece of tarMember(manifest, manifest.content())) pieces.push(piece);
    await rejectsCode("BACKUP_MALFORMED", async () => unpacked(await resealed(Buffer.concat([...pieces, rest]))));
  });

  test("of an audit log nothing is taken that its checkpoint does not cover, and no epoch without those between", async () => {
    const size = written.manifest.logs[0]?.size ?? 0;
    const names = [...logMembers(logDirectory, size)].map(({ path }) => path);
    assert.ok(names.length >= 5 && names.every((path) => isLogMember(path, size)), names.join());
    for (const path of [
      "tile/entries/999",
      "tile/entries/002.p/187",
      "tile/entries/002",
      "tile/2/000.p/1",
      "tile/0/x000/000",
    ]) {
      assert.ok(!isLogMember(path, size), path);
    }
    const pieces: Uint8Array[] = [];
    const rest = plain.subarray(memberBytes(canonicalJson(written.manifest).length), -tarEnd().length);
    const restBytes = written.manifest.restBytes + memberBytes(4);
    const first = bytesSource(MANIFEST_PATH, canonicalJson({ ...written.manifest, restBytes }));
    for await (const piece of tarMember(first, first.content())) pieces.push(piece);
    const more = bytesSource("audit-log/tile/entries/003", Buffer.from("more"));
    pieces.push(rest);
    for await (const piece of tarMember(more, more.content())) pieces.push(piece);
    await rejectsCode("BACKUP_MALFORMED", async () => unpacked(await resealed(Buffer.concat([...pieces, tarEnd()]))));
    const [log] = written.manifest.logs;
    assert.ok(log);
    const file = { size: 0, digest: digestFromHex("0".repeat(64)), mode: 0o600, uid: 0 };
    for (const path of ["audit-log", "audit-log/epochs/2"]) {
      const files = ["audit-log", path].flatMap((one) =>
        ["checkpoint", "key.pub"].map((name) => ({ ...file, path: `${one}/${name}` })),
      );
      const manifest = small({ logs: [log, { ...log, path }], files: path === "audit-log" ? files.slice(2) : files });
      await rejectsCode("BACKUP_MALFORMED", async () => unpacked(await made(manifest, [])));
    }
  });

  test("a link in the audit log's place is not followed: the log belongs to its service, and root reads it", async () => {
    const linked = await mkdtemp(join(directory, "linked-"));
    await cp(logDirectory, linked, { recursive: true });
    const full = join(linked, "tile/entries/000");
    await rm(full);
    await symlink(join(logDirectory, "tile/entries/000"), full);
    assert.throws(() => [...logMembers(linked, 700)], { code: "BACKUP_WRITE_FAILED" });
  });

  test("only what the manifest names is taken", async () => {
    const file = { path: "ledger", size: 5, digest: digestFromHex("0".repeat(64)), mode: 0o600, uid: 0 };
    const five = Buffer.from("12345");
    const two = { restBytes: 2 * 512 + 1024 };
    await unpacked(await made(small(), []));
    const refuse = (code: string, manifest: unknown, ...members: (readonly [string, Buffer])[]): Promise<unknown> =>
      rejectsCode(code, async () => unpacked(await made(manifest, members)));
    await refuse("BACKUP_MALFORMED", small(two), ["ledger", five]);
    await refuse("BACKUP_MALFORMED", small({ files: [file], ...two }), ["other", five]);
    await refuse("BACKUP_MALFORMED", small({ files: [{ ...file, size: 4 }], ...two }), ["ledger", five]);
    await refuse("BACKUP_MALFORMED", small({ files: [file] }));
    await refuse("BACKUP_DAMAGED", small({ files: [file], ...two }), ["ledger", five]);
    await refuse("BACKUP_TRUNCATED", small({ restBytes: 4096 }));
    await refuse("BACKUP_MALFORMED", small({ restBytes: 512 }));
    for (const path of ["../out", "/etc/passwd", "a/../b", "a//b", MANIFEST_PATH, "a\u0000b"]) {
      await refuse("BACKUP_MALFORMED", small({ files: [{ ...file, path }] }));
    }
    await refuse("BACKUP_MALFORMED", small({ files: [file, file] }));
    const logs = [{ path: "audit-log", origin: "a", size: 0, root: `${"A".repeat(43)}=` }];
    await refuse("BACKUP_MALFORMED", small({ logs }));
    await refuse("BACKUP_MALFORMED", { ...small(), more: 1 });
    await refuse("BACKUP_TOO_NEW", { ...small(), schemaVersion: 2 });
    await rejectsCode("BACKUP_MALFORMED", async () =>
      openBackup(await resealed(Buffer.alloc(2048, 7)), [key.identity]),
    );
    await rejectsCode("BACKUP_MALFORMED", async () => openBackup(await resealed(tarEnd()), [key.identity]));
  });

  test("a source that changes while it is read, and a wish to stop, leave nothing behind", async () => {
    const out = await mkdtemp(join(directory, "out-"));
    let reads = 0;
    const moving = {
      ...bytesSource("moving", Buffer.from("1234")),
      content: async function* (): AsyncGenerator<Uint8Array> {
        reads += 1;
        yield Buffer.from(reads === 1 ? "1234" : "1235");
      },
    };
    const wish = { recipients: [key.recipient] };
    await rejectsCode("BACKUP_WRITE_FAILED", () => writeBackup(out, { ...content, files: [moving] }, wish));
    const short = { ...moving, content: async function* (): AsyncGenerator<Uint8Array> {} };
    await rejectsCode("BACKUP_WRITE_FAILED", () => writeBackup(out, { ...content, files: [short] }, wish));
    const stop = new AbortController();
    const onProgress = (): void => stop.abort();
    await assert.rejects(writeBackup(out, content, { ...wish, signal: stop.signal, onProgress }), {
      name: "AbortError",
    });
    assert.deepEqual(await readdir(out), []);
    await rejectsCode("BACKUP_WRITE_FAILED", () => writeBackup(join(out, "nowhere"), content, wish));
    const bad = { ...content, about: { ...content.about, databases: ["No Name"] } };
    await rejectsCode("BACKUP_MALFORMED", () => writeBackup(out, bad, wish));
    assert.deepEqual(await readdir(out), []);
  });

  test("a disk that fails or a power cut at any call leaves a whole backup or none, and never an older one less", async () => {
    const out = await mkdtemp(join(directory, "out-"));
    const wish = { recipients: [key.recipient] };
    const counted = new FaultyDisk();
    const small = {
      ...content,
      files: content.files.slice(0, 2),
      tiles: () => [],
      about: { ...content.about, logs: [] },
    };
    const name = (await writeBackup(out, small, { ...wish, disk: counted })).path.slice(out.length + 1);
    await rm(join(out, name));
    const faults: Fault[] = [];
    for (let at = 1; at <= counted.calls; at += 1) {
      faults.push(
        { kind: "error", code: "ENOSPC", at, forever: false },
        { kind: "error", code: "EIO", at, forever: true },
      );
      faults.push({ kind: "kill", at }, { kind: "power", at });
    }
    for (const [seed, fault] of faults.entries()) {
      const disk = new FaultyDisk(fault, seed + 1);
      const told = JSON.stringify(fault);
      const code = await writeBackup(out, small, { ...wish, disk }).then(
        () => undefined,
        (cause: unknown) => (cause as { code?: unknown }).code,
      );
      const left = await readdir(out);
      if (code === undefined) assert.deepEqual(left, [name], told);
      else if (!disk.isDead) assert.equal(code, "BACKUP_WRITE_FAILED", told);
      if (left.includes(name)) await unpacked(join(out, name));
      else if (fault.kind === "error" && !fault.forever) assert.deepEqual(left, [], told);
      else
        assert.ok(
          left.every((one) => one === `.${name}.new`),
          `${told}: ${left.join()}`,
        );
      await rm(join(out, name), { force: true });
      // Whatever was left is no hindrance to the next one.
      await writeBackup(out, small, wish);
      assert.deepEqual(await readdir(out), [name], told);
      await rm(join(out, name));
    }
  });

  test("a disk that is full or fails while it is unpacked is told as such", async () => {
    for (const code of ["ENOSPC", "EIO"] as const) {
      for (const at of [2, 9, 30]) {
        const into = await mkdtemp(join(directory, "unpacked-"));
        const opened = await openBackup(written.path, [key.identity]);
        const disk = new FaultyDisk({ kind: "error", code, at, forever: true });
        await rejectsCode(code === "ENOSPC" ? "STATE_DISK_FULL" : "STATE_WRITE_FAILED", () =>
          opened.unpack(disk, into),
        );
        await opened.close();
      }
    }
  });

  test("what a killed run left goes with the next one, and the oldest go when they shall", async () => {
    const out = await mkdtemp(join(directory, "out-"));
    const { siteId } = site.open();
    const name = (time: string, id = siteId): string => `sealift-${id}-${time}.tar.age`;
    const foreign = [name("20200101T000000Z", "f".repeat(32)), `${name("20200101T000000Z")}.txt`, "notes"];
    const old = ["20260101T000000Z", "20260201T000000Z", "20260301T000000Z"].map((time) => name(time));
    for (const one of [...foreign, ...old, `.${name("20260401T000000Z")}.new`]) await writeFile(join(out, one), "");
    const { path, manifest } = await writeBackup(out, content, { recipients: [key.recipient] });
    assert.deepEqual(
      (await readdir(out)).filter((one) => one.startsWith(".")),
      [],
    );
    assert.deepEqual(removeOldBackups({ path, manifest }, 2), [old[1], old[0]]);
    assert.deepEqual(backupsIn(out, siteId), [path.slice(out.length + 1), old[2]]);
    const future = `sealift-${siteId}-20991231T235959Z.tar.age`;
    await writeFile(join(out, future), "made when the clock was wrong");
    assert.deepEqual(removeOldBackups({ path, manifest }, 1), [future, old[2]]);
    assert.deepEqual(backupsIn(out, siteId), [path.slice(out.length + 1)]);
    assert.deepEqual((await readdir(out)).filter((one) => foreign.includes(one)).length, 3);
    await rejectsCode("FILE_EXISTS", () => writeBackup(out, content, { recipients: [key.recipient] }));
  });

  test("one without the audit log says so, is told from whole ones by its name, and --keep neither counts nor removes it", async () => {
    const out = await mkdtemp(join(directory, "without-"));
    const dumps = { directory: join(directory, "dumps"), databaseBytes: 8_000_000 };
    const rest = siteContent(site.open(), RULES, dumps, undefined);
    const whole = await writeBackup(out, content, { recipients: [key.recipient] });
    const without = await writeBackup(out, rest, { recipients: [key.recipient] });
    assert.equal(without.path, join(out, `without-audit-log-${whole.path.slice(out.length + 1)}`));
    assert.deepEqual([whole.manifest.kind, whole.manifest.logs.length], [WHOLE, 1]);
    assert.deepEqual([without.manifest.kind, without.manifest.logs], [WITHOUT_LOG, []]);
    const into = await unpacked(without.path);
    assert.deepEqual((await readdir(into)).sort(), ["databases", "ledger", "secrets", "site", "trust"]);
    assert.deepEqual(removeOldBackups(whole, 1), []);
    assert.equal((await readdir(out)).length, 2);
    // Cut off, both are swept alike.
    await writeFile(join(out, `.${without.path.slice(out.length + 1)}.new`), "half");
    await rm(whole.path);
    await writeBackup(out, content, { recipients: [key.recipient] });
    assert.deepEqual(
      (await readdir(out)).filter((name) => name.startsWith(".")),
      [],
    );
    const forged = { ...without.manifest, files: [], databases: [], restBytes: 1024, logs: written.manifest.logs };
    const error = await rejectsCode("BACKUP_MALFORMED", async () => unpacked(await made(forged, [])));
    assert.match(error.message, /an audit log in a backup without one/);
    const later = { ...without.manifest, files: [], databases: [], restBytes: 1024, schemaVersion: 2 };
    await rejectsCode("BACKUP_TOO_NEW", async () => unpacked(await made(later, [])));
    await rejectsCode("BACKUP_MALFORMED", async () => unpacked(await made({ ...later, kind: "other" }, [])));
  });

  test("a header that does not end is not read into memory", async () => {
    const path = join(directory, "endless.tar.age");
    const file = await open(path, "w");
    await file.write("age-encryption.org/v1\n-> X25519 ");
    await file.truncate(2 ** 33);
    await file.close();
    await rejectsCode("BACKUP_MALFORMED", () => openBackup(path, [key.identity]));
    const lines = join(directory, "lines.tar.age");
    const line = `-> X25519 ${"A".repeat(43)}\n${"A".repeat(43)}\n`;
    await writeFile(lines, `age-encryption.org/v1\n${line.repeat(40_000)}`);
    await rejectsCode("BACKUP_MALFORMED", () => openBackup(lines, [key.identity]));
  });

  test("keys are read as age reads them, and secrets are not taken for public ones", () => {
    const text = `# a comment\n${key.recipient}\n\n${other.recipient}\n${key.recipient}\n`;
    assert.deepEqual(recipientsIn(text, "f"), [key.recipient, other.recipient].sort());
    const identity = `# public key: ${key.recipient}\r\n${key.identity}\r\n`;
    assert.deepEqual(identitiesIn(identity, "f"), [key.identity]);
    const wrong = `${key.recipient.slice(0, -1)}${key.recipient.endsWith("q") ? "p" : "q"}`;
    for (const bad of ["", "# only", wrong, "ssh-ed25519 AAAA", key.identity, `${key.recipient} x`]) {
      assert.throws(() => recipientsIn(bad, "f"), { code: "BACKUP_RECIPIENT_MALFORMED" }, bad);
    }
    for (const bad of [
      "",
      key.recipient,
      `${key.identity}x`,
      `${key.identity.slice(0, -1)}B`,
      "age-encryption.org/v1",
    ]) {
      assert.throws(() => identitiesIn(bad, "f"), { code: "BACKUP_KEY_MALFORMED" }, bad);
    }
  });
});
