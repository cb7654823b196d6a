/** Targets of the fuzzer (fuzz-targets.ts): what lies in files that an image, a medium or another machine brought. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findParts, listName, parityName, partName, readLists } from "../../bundles/layout/parts.ts";
import type { ReadAt } from "../../bundles/layout/tar-format.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { scanForeignTar } from "../../bundles/source/foreign-tar.ts";
import { parseElf } from "../../bundles/source/recipe/elf.ts";
import { md5, renderSet, setId } from "../../bundles/transfer/par2-packet.ts";
import { repairParts } from "../../bundles/transfer/repair.ts";
import { openSealed } from "../../installer/backup/age-file.ts";
import { type BackupManifest, parseBackupManifest } from "../../installer/backup/backup-manifest.ts";
import { TarReader, tarEnd, tarMember } from "../../installer/backup/tar-stream.ts";
import { NOTHING_DEPLOYED } from "../../installer/site/deployment.ts";
import { readRpmDatabase } from "../../sbom/generate/rpm-database.ts";
import { readRpmHeader } from "../../sbom/generate/rpm-header.ts";
import { compareRpmVersions } from "../../sbom/rpm-version.ts";
import { parseOsvRecord } from "../../sbom/scan/osv-record.ts";
import { judgeRpmVersion } from "../../sbom/scan/rpm-modules.ts";
import { accepted, acceptedLater, codes, type FuzzTarget, fuzzDirectory } from "./fuzz-target.ts";
import { file, layer, pax, symlink } from "./layer-tar.ts";
import { recoveryOf } from "./par2-packets.ts";
import { rpmDatabase, rpmPackage } from "./rpm-database.ts";
import { osvRecord } from "./scan-inputs.ts";
import { smallElf } from "./small-elf.ts";

/** A key of these tests alone, and "sealift" sealed for it. */
const IDENTITY = "AGE-SECRET-KEY-1N6UAMHRFJ8UL5LPA6SC30YRDAGF2ZAJU0ZTLRTAVST7EJ783MZVSHVDUTD";
const SEALED =
  "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBiaWQ1M3BWc1d0VWhwNnVxQzEva2R0RGtuU0NCYXNXL1pXL093b2V0KzN3CkhOZWIwZ2xJ" +
  "N1JYbWNZNGNPbE1sZjJNWkx2ZkZ6blR1Si9aNTRZOWx4Um8KLS0tIHVRRlpSTVREeGxzRSt2SXN3YkdOY3JldkhtZFVJZ21yWkF2OTRpVXlIZDgK" +
  "hQ/gWYEBfYy6CbTGQWULTAQGeaEI4At6lWHbehyyUtInHnUVZ4zr";

const NAME = "test-1.0.0-12345678";
const [PART, PARITY] = [partName(NAME, 1, 1), parityName(NAME, 0, 16)];
const PART_BYTES = Buffer.alloc(64, 7);
const parity = ((): Buffer => {
  const blocks = Array.from({ length: 16 }, (_, i) => ({ md5: md5(PART_BYTES.subarray(4 * i, 4 * i + 4)), crc: 0 }));
  const whole = { size: PART_BYTES.length, md5: md5(PART_BYTES), md5OfStart: md5(PART_BYTES) };
  const set = { blockBytes: 4, files: [{ name: PART, ...whole, blocks }] };
  return Buffer.concat([renderSet(set), recoveryOf(setId(set), 0, Buffer.alloc(4))]);
})();

const backupManifest: BackupManifest = {
  schemaVersion: 1,
  kind: "sealift-backup",
  sealift: "0.1.0",
  siteId: "0".repeat(32),
  created: "2026-11-21T08:00:00.000Z",
  ledgerHead: digestOf("x"),
  ledgerLength: 1,
  deployments: NOTHING_DEPLOYED,
  databases: ["gateway"],
  databaseBytes: 1,
  files: [{ path: "state/site.json", size: 3, digest: digestOf("abc"), mode: 0o600, uid: 0 }],
  logs: [],
  restBytes: 1536,
};

async function* once(...chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** The tar that a reader of `tar` would write again. */
async function rewritten(tar: Buffer): Promise<Buffer> {
  const reader = new TarReader(once(tar));
  const written: Buffer[] = [];
  for (let member = await reader.next(); member; member = await reader.next()) {
    const content = await bytesOf(reader.content());
    written.push(await bytesOf(tarMember(member, once(content))));
  }
  return Buffer.concat([...written, tarEnd()]);
}

const tarOf = async (path: string, content: string): Promise<Buffer> =>
  Buffer.concat([
    await bytesOf(tarMember({ path, size: content.length, mode: 0o600, uid: 0 }, once(Buffer.from(content)))),
    tarEnd(),
  ]);

const from =
  (data: Buffer): ReadAt =>
  (buffer, position) =>
    data.copy(buffer, 0, position, Math.min(data.length, position + buffer.length));

const erratum = (id: string, fixed: string): Buffer =>
  Buffer.from(
    `1.0-1.el9\n${JSON.stringify(osvRecord({ id, ecosystem: "AlmaLinux:9", events: [{ introduced: "0" }, { fixed }] }))}`,
  );

export const fileFuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  "age file": {
    isAsync: true,
    seeds: [Buffer.from(SEALED, "base64")],
    run: async (data) => {
      const path = join(fuzzDirectory(), "backup.age");
      writeFileSync(path, data);
      const opened = await acceptedLater(() => openSealed(path, [IDENTITY]));
      const plain = opened && (await acceptedLater(() => bytesOf(opened.plain)));
      if (plain !== undefined) assert.equal(plain.toString("latin1"), "sealift", "what nobody has sealed");
    },
  },
  "backup's manifest": codes(parseBackupManifest, canonicalJson(backupManifest)),
  "backup's tar": {
    isAsync: true,
    seeds: [await tarOf("state/site.json", "abc"), await tarOf(`${"long/".repeat(30)}name`, "")],
    run: async (data) => {
      const again = await acceptedLater(() => rewritten(data));
      if (again) assert.ok(again.equals(data), "a byte that no member accounts for");
    },
  },
  "PAR2 file": {
    seeds: [parity],
    run: (data) => {
      const at = (name: string): string => join(fuzzDirectory(), name);
      writeFileSync(at(PART), PART_BYTES);
      writeFileSync(at(PARITY), data);
      const looking = { path: fuzzDirectory(), checkOnly: true, onProgress: (): void => {} };
      accepted(() => repairParts(looking));
      writeFileSync(at(PART), PART_BYTES.subarray(0, 60));
      accepted(() => repairParts(looking));
    },
  },
  "list of media parts": {
    seeds: [Buffer.from(`${"0".repeat(64)}  ${PART}\n${"1".repeat(64)} *${PARITY}\n`)],
    run: (data) => {
      const path = join(fuzzDirectory(), listName(NAME));
      writeFileSync(path, data);
      writeFileSync(join(fuzzDirectory(), PART), PART_BYTES);
      const found = findParts(join(fuzzDirectory(), PART));
      for (const { name } of found ? readLists(found).values() : []) assert.match(name, /^[\w.+-]+$/);
      rmSync(path);
    },
  },
  "rpm database": {
    seeds: [rpmDatabase([rpmPackage("bash", "5.2", "1.el9")], 512)],
    // "Never throws", and so not even a coded error.
    run: (data) => void readRpmDatabase(data),
  },
  "rpm header": {
    seeds: [rpmPackage("bash", "5.2", "1.el9")],
    run: (data) => {
      accepted(() => readRpmHeader(data), RangeError);
    },
  },
  errata: {
    seeds: [erratum("ALSA-2026:1234", "1.0-2.el9"), erratum("RLSA-2026:1", "1.0-2.module+el9.1.0+1+abc")],
    run: (data) => {
      const [version = "", ...rest] = data.toString("utf8").split("\n");
      const record = parseOsvRecord(rest.join("\n"));
      if (typeof record === "string") return;
      for (const affected of record.affected) {
        const { fixed } = judgeRpmVersion(version, affected);
        for (const one of fixed) assert.ok((compareRpmVersions(one, version) ?? 0) > 0, "fixed in an older version");
      }
    },
  },
  "tar of another program": codes(
    (data) => scanForeignTar(from(data), data.length, "a"),
    layer(file("manifest.json", "[]"), symlink("a", "manifest.json"), pax({ path: "long/name" }), file("x", "abc")),
  ),
  "ELF file": {
    seeds: [smallElf()],
    run: (data) => {
      // It says of itself that it throws any error: the packages are locked by their digests.
      accepted(() => parseElf((offset, length) => data.subarray(offset, offset + length)), Error);
    },
  },
};
