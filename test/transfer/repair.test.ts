import assert from "node:assert/strict";
import { copyFile, cp, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { parityName, partName } from "../../bundles/layout/parts.ts";
import { md5, recoveryPacket, renderSet, setId } from "../../bundles/transfer/par2-packet.ts";
import { random } from "../support/faulty-disk.ts";
import { contents, digests, makeParts, PARTS_NAME, repair, someBytes } from "../support/parts.ts";
import { scratch } from "../support/scratch.ts";

const coded =
  (code: string, ...words: string[]) =>
  (error: { code?: string; message?: string }) => {
    assert.equal(error.code, code);
    for (const word of words) assert.ok(error.message?.includes(word), `${word} in: ${error.message}`);
    return true;
  };

function* choices(count: number, size: number, from = 0): Generator<number[]> {
  if (size === 0) yield [];
  for (let i = from; i <= count - size && size > 0; i++) {
    for (const rest of choices(count, size - 1, i + 1)) yield [i, ...rest];
  }
}

for (const parity of [1, 2, 3]) {
  test(`with ${parity} parity files any ${parity} files can be lost or damaged, whichever they are`, async (t) => {
    const out = await scratch(t);
    const made = await makeParts(out, { parity });
    const files = [...made.parts, ...made.parity].map(({ name }) => name);
    const want = await contents(out);
    const next = random(parity);
    for (const lost of choices(files.length, parity)) {
      const names = lost.map((i) => files[i] as string);
      const damaged: string[] = [];
      for (const name of names) {
        const bytes = Buffer.from(want.get(name) as Buffer);
        if (next() < 0.5) await rm(join(out, name));
        else {
          damaged.push(name);
          // The whole file is other bytes, or it is cut short, or goes on.
          const other = next();
          if (other < 0.6) bytes.fill(0x5a);
          const end = bytes.length - (other < 0.8 ? 0 : 700);
          await writeFile(
            join(out, name),
            Buffer.concat([bytes.subarray(0, end), Buffer.alloc(other > 0.9 ? 1500 : 0)]),
          );
          if (bytes.subarray(0, end).equals(want.get(name) as Buffer)) damaged.pop();
        }
      }
      const result = await repair(out);
      assert.deepEqual(digests(await contents(out)), digests(want), names.join(", "));
      assert.deepEqual(
        [...result.missing, ...result.damaged].sort(),
        [...new Set([...result.missing, ...damaged])].sort(),
      );
    }
    assert.deepEqual((await repair(out)).written, []);
  });
}

test("one file more than parity makes good is refused, every one is named, and nothing is changed", async (t) => {
  const out = await scratch(t);
  const { parts } = await makeParts(out);
  const [one, two, three] = parts.map(({ name }) => name) as [string, string, string];
  await rm(join(out, one));
  await rm(join(out, two));
  await writeFile(join(out, three), "short");
  const before = await contents(out);
  const refused = coded("PARTS_UNREPAIRABLE", one, two, three);
  await assert.rejects(repair(out), refused);
  await assert.rejects(repair(out, { checkOnly: true }), refused);
  assert.deepEqual(digests(await contents(out)), digests(before));
});

test("a flipped bit in any file is found and made good", async (t) => {
  const out = await scratch(t);
  await makeParts(out);
  const want = await contents(out);
  const next = random(7);
  for (const [name, bytes] of want) {
    for (let i = 0; i < 4; i++) {
      const changed = Buffer.from(bytes);
      const at = Math.floor(next() * bytes.length);
      changed[at] = (changed[at] as number) ^ (1 << Math.floor(next() * 8));
      await writeFile(join(out, name), changed);
      await assert.rejects(repair(out, { checkOnly: true }), coded("PARTS_DAMAGED", name), `${name} byte ${at}`);
      assert.deepEqual(
        digests(await contents(out)),
        digests(new Map(want).set(name, changed)),
        "a check changes nothing",
      );
      await repair(out);
      assert.deepEqual(digests(await contents(out)), digests(want), `${name} byte ${at}`);
    }
  }
});

test("a scratch on each of the media costs a block of each and no part", async (t) => {
  const out = await scratch(t);
  const { parts, parity } = await makeParts(out);
  const want = await contents(out);
  assert.ok(parts.length > parity.length);
  for (const { name } of parts) {
    const bytes = Buffer.from(want.get(name) as Buffer);
    bytes.fill(0, 100, 130);
    await writeFile(join(out, name), bytes);
  }
  assert.equal((await repair(out)).damaged.length, parts.length);
  assert.deepEqual(digests(await contents(out)), digests(want));
});

test("files that are made again go where --out says, and what was there stays", async (t) => {
  const root = await scratch(t);
  const [media, out] = [join(root, "media"), join(root, "out")];
  const { parts } = await makeParts(media);
  const want = await contents(media);
  const name = parts[1]?.name as string;
  await rm(join(media, name));
  await mkdir(out);
  const { written } = await repair(media, { out });
  assert.deepEqual(written, [join(out, name)]);
  assert.deepEqual(digests(await contents(out)), digests(new Map([[name, want.get(name) as Buffer]])));
  // Side by side below one directory, as mounted media are, they are one set.
  await rename(join(media, parts[0]?.name as string), join(out, parts[0]?.name as string));
  assert.deepEqual((await repair(root)).written, []);
});

test("parity alone is enough where there is as much of it as of the bundle", async (t) => {
  const out = await scratch(t);
  await makeParts(out, { bundle: someBytes(3_000), sizeBytes: 20_000, parity: 1 });
  const want = await contents(out);
  for (const name of want.keys()) if (!name.endsWith(".par2")) await rm(join(out, name));
  await repair(out);
  assert.deepEqual(digests(await contents(out)), digests(want));
});

test("without parity the list tells what is damaged, and without both nothing can be told", async (t) => {
  const out = await scratch(t);
  const { parts, list } = await makeParts(out, { parity: 0 });
  const [one, two] = parts.map(({ name }) => name) as [string, string];
  assert.deepEqual((await repair(out)).written, []);
  await copyFile(join(out, one), join(out, two));
  await assert.rejects(repair(out), coded("PARTS_UNREPAIRABLE", `damaged ${two}`, "no parity"));
  await rm(list);
  await assert.rejects(repair(out), coded("PARTS_UNREPAIRABLE", one, two, "no list"));
  await assert.rejects(repair(await scratch(t)), coded("PARTS_MISSING"));
});

test("parity of something else beside the parts is refused", async (t) => {
  const root = await scratch(t);
  const [one, two] = [join(root, "one"), join(root, "two")];
  await makeParts(one);
  await makeParts(two, { bundle: someBytes(160_000, 2) });
  await rm(join(one, `${PARTS_NAME}.vol016+016.par2`));
  await copyFile(join(two, `${PARTS_NAME}.vol016+016.par2`), join(one, `${PARTS_NAME}.vol016+016.par2`));
  await assert.rejects(repair(one), coded("PARTS_MIXED"));
  // Alone it describes other bytes: that is not taken for damage that could be made good.
  await rm(join(one, `${PARTS_NAME}.vol000+016.par2`));
  await assert.rejects(repair(one), coded("PARTS_MIXED", "and the part itself"));
  await rm(join(one, `${PARTS_NAME}.sha256`));
  await assert.rejects(repair(one), coded("PARTS_UNREPAIRABLE"));
});

test("a parity file whose beginning is lost still describes the set", async (t) => {
  const out = await scratch(t);
  const { parts, parity } = await makeParts(out, { parity: 1 });
  const want = await contents(out);
  const name = parity[0]?.name as string;
  const bytes = Buffer.from(want.get(name) as Buffer);
  bytes.fill(0xff, 0, 1000);
  await writeFile(join(out, name), bytes);
  await rm(join(out, parts[0]?.name as string));
  await repair(out);
  assert.deepEqual(digests(await contents(out)), digests(want));
});

test("hostile parity files cost no memory and no time, and are not believed", async (t) => {
  const root = await scratch(t);
  await makeParts(join(root, "good"));
  const next = random(11);
  for (let i = 0; i < 20; i++) {
    const out = join(root, String(i));
    await cp(join(root, "good"), out, { recursive: true });
    for (const name of [`${PARTS_NAME}.vol000+016.par2`, `${PARTS_NAME}.vol016+016.par2`]) {
      const bytes = Buffer.from((await contents(out)).get(name) as Buffer);
      for (let n = 0; n < 40; n++) bytes[Math.floor(next() * 400)] = next() * 256;
      await writeFile(join(out, name), bytes.subarray(0, Math.floor(next() * bytes.length)));
    }
    await repair(out).catch((error: { code?: string }) => assert.match(error.code ?? String(error), /^PARTS_/));
    await rm(out, { recursive: true });
  }
});

test("parity that asks for the work of days is refused at once", async (t) => {
  const out = await scratch(t);
  const BLOCKS = 4_000;
  const blocks = Array.from({ length: BLOCKS }, () => ({ md5: md5(), crc: 0 }));
  const name = partName(PARTS_NAME, 1, 1);
  const set = { blockBytes: 4, files: [{ name, size: 4 * BLOCKS, md5: md5(), md5OfStart: md5(), blocks }] };
  const recovery = Array.from({ length: BLOCKS }, (_, exponent) => {
    const { hash, render } = recoveryPacket(setId(set), exponent, 4);
    return Buffer.concat([render(hash.update(Buffer.alloc(4)).digest()), Buffer.alloc(4)]);
  });
  const bytes = Buffer.concat([renderSet(set), ...recovery]);
  await writeFile(join(out, parityName(PARTS_NAME, 0, BLOCKS)), bytes);
  const began = performance.now();
  await assert.rejects(repair(out), coded("PARTS_UNREPAIRABLE", name, `${BLOCKS} recovery blocks are whole`));
  assert.ok(performance.now() - began < 5_000);
});
