/** Parity files that are made to cost much: what they cost is no more than how long they are. */
import assert from "node:assert/strict";
import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { partName } from "../../bundles/layout/parts.ts";
import {
  HEADER_BYTES,
  md5,
  PACKET_TYPES,
  type ParitySet,
  renderSet,
  setId,
} from "../../bundles/transfer/par2-packet.ts";
import { MAGIC, packetOf, recoveryOf } from "../support/par2-packets.ts";
import { contents, digests, makeParts, PARTS_NAME, repair } from "../support/parts.ts";
import { scratch } from "../support/scratch.ts";

const PARITY = `${PARTS_NAME}.vol000+016.par2`;
const ONLY = partName(PARTS_NAME, 1, 1);
/** All of them took minutes, or for ever, when the reader had no bounds. */
const SECONDS_MAX = 10;
const LENGTH = 4 * 1024 * 1024;

/** One part of zeros with a parity file of `bytes` beside it. */
async function beside(t: TestContext, bytes: Buffer, partBytes = 65_536): Promise<string> {
  const directory = await scratch(t);
  await writeFile(join(directory, ONLY), Buffer.alloc(partBytes));
  await writeFile(join(directory, PARITY), bytes);
  return directory;
}

async function requireRefused(directory: string, code: string): Promise<void> {
  const before = digests(await contents(directory));
  const began = performance.now();
  await assert.rejects(repair(directory), { code });
  assert.ok(performance.now() - began < 1000 * SECONDS_MAX);
  assert.deepEqual(digests(await contents(directory)), before);
}

const zeros = (blockBytes: number, blocks: number): ParitySet => ({
  blockBytes,
  files: [
    {
      name: ONLY,
      size: blockBytes * blocks,
      md5: md5(),
      md5OfStart: md5(),
      blocks: Array.from({ length: blocks }, () => ({ md5: md5(Buffer.alloc(Math.min(blockBytes, 64))), crc: 0 })),
    },
  ],
});

test("a parity file of nothing but the beginnings of packets is read once", async (t) => {
  await requireRefused(await beside(t, Buffer.alloc(LENGTH, MAGIC)), "PARTS_UNREPAIRABLE");
});

for (const type of ["recovery", "file"] as const) {
  test(`packets within packets (${type}) that are not whole are not hashed again and again`, async (t) => {
    const one = packetOf({ type, set: Buffer.alloc(16), body: Buffer.alloc(0) });
    const bytes = Buffer.alloc(2 * LENGTH, one);
    for (let at = 0; at < bytes.length; at += one.length) {
      const left = bytes.length - at;
      bytes.writeBigUInt64LE(BigInt(type === "recovery" ? left : Math.min(left, 1024 * 1024)), at + 8);
    }
    await requireRefused(await beside(t, bytes), "PARTS_UNREPAIRABLE");
  });
}

/** That the set behind what is kept is not found shows that no more was kept. */
async function requirePassedOver(t: TestContext, junk: Buffer): Promise<void> {
  const set = renderSet(zeros(64, 1024));
  const directory = await beside(t, Buffer.concat([set, junk]));
  // Its recovery blocks are all that it lacks.
  await assert.rejects(repair(directory, { checkOnly: true }), { code: "PARTS_DAMAGED" });
  await writeFile(join(directory, PARITY), Buffer.concat([junk, set]));
  await requireRefused(directory, "PARTS_UNREPAIRABLE");
}

test("packets of a hundred thousand sets are not kept", async (t) => {
  const packets = Array.from({ length: 100_000 }, (_, i) => {
    const set = Buffer.alloc(16);
    set.writeUInt32LE(i);
    return packetOf({ type: "creator", set, body: Buffer.alloc(0) });
  });
  await requirePassedOver(t, Buffer.concat(packets));
});

test("descriptions of files that are none of the set's do not fill the memory", async (t) => {
  const body = Buffer.alloc(512 * 1024 - HEADER_BYTES);
  const packets = Array.from({ length: 64 }, (_, i) => {
    body.writeUInt32LE(i);
    return packetOf({ type: "blocks", set: Buffer.alloc(16), body });
  });
  await requirePassedOver(t, Buffer.concat(packets));
});

test("one recovery block a hundred thousand times is one", async (t) => {
  const set = zeros(64, 1024);
  const block = recoveryOf(setId(set), 0, Buffer.alloc(64, 1));
  const bytes = Buffer.concat([renderSet(set), ...Array.from({ length: 100_000 }, () => block)]);
  const directory = await beside(t, bytes);
  await truncate(join(directory, ONLY), 65_536 - 128);
  await requireRefused(directory, "PARTS_UNREPAIRABLE");
});

test("a part is read no further than it goes, and blocks are no larger than anything that is here", async (t) => {
  await requireRefused(await beside(t, renderSet(zeros(2 ** 50, 1))), "PARTS_MIXED");
  // So large that reading to where it should end would take hours.
  const set = zeros(1024 * 1024, 30_000);
  await requireRefused(await beside(t, renderSet(set)), "PARTS_UNREPAIRABLE");
});

test("blocks that would take minutes to calculate are not made again", async (t) => {
  const set = zeros(4, 32_768);
  const blocks = Array.from({ length: 500 }, (_, exponent) => recoveryOf(setId(set), exponent, Buffer.alloc(4)));
  const directory = await beside(t, Buffer.concat([renderSet(set), ...blocks]), 4 * (32_768 - 500));
  await requireRefused(directory, "PARTS_UNREPAIRABLE");
});

test("a recovery block of no bytes at the end of its file is none", async (t) => {
  const empty = packetOf({ type: "recovery", set: Buffer.alloc(16), body: Buffer.alloc(0) });
  assert.equal(empty.subarray(48).toString("latin1"), PACKET_TYPES.recovery);
  await requireRefused(await beside(t, empty), "PARTS_UNREPAIRABLE");
});

test("a part that is what its list says is not made into what parity says", async (t) => {
  const root = await scratch(t);
  const [one, other] = [join(root, "one"), join(root, "other")];
  const { parts } = await makeParts(one);
  const bytes = await contents(one);
  const first = parts[0]?.name as string;
  // The same release signed once more: the same names and sizes, and a few other bytes.
  const changed = Buffer.concat(parts.map(({ name }) => bytes.get(name) as Buffer));
  changed.fill(0x5a, 100, 200);
  await makeParts(other, {
    bundle: {
      size: changed.length,
      *chunks() {
        yield changed;
      },
    },
  });
  const mixed = new Map(bytes);
  for (const [name, content] of await contents(other)) if (name.endsWith(".par2")) mixed.set(name, content);
  for (const [name, content] of mixed) await writeFile(join(one, name), content);
  await assert.rejects(repair(one), (error: { code?: string; message?: string }) => {
    assert.equal(error.code, "PARTS_MIXED");
    assert.ok(error.message?.includes(first));
    return true;
  });
  assert.deepEqual(digests(await contents(one)), digests(mixed));
});
