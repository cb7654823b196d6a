import assert from "node:assert/strict";
import test from "node:test";
import { normalize } from "../../../../compose/services/pii/src/normalize.ts";
import { BEFORE_MAX, type Finding, HOLD_MAX, scanText, scanWindow } from "../../../../compose/services/pii/src/scan.ts";
import { scanSlices } from "../../../../compose/services/pii/src/scan-slices.ts";
import { SAMPLES } from "./samples.ts";
import { type Seeded, seeded } from "./seeded.ts";

/** As the gateway does it. */
function streamed(chunks: readonly string[]): Finding[] {
  const findings: Finding[] = [];
  let pending = "";
  let before = "";
  let running: ReturnType<typeof scanWindow>["running"];
  let offset = 0;
  const send = (more: boolean): void => {
    const scan = scanWindow({ text: pending, before, running, more });
    for (const { continues, ...finding } of scan.findings) {
      const last = findings.at(-1);
      const end = offset + finding.end;
      if (continues && last) findings[findings.length - 1] = { ...last, end };
      else findings.push({ ...finding, start: offset + finding.start, end });
    }
    before = (before + pending.slice(0, scan.consumed)).slice(-BEFORE_MAX);
    offset += scan.consumed;
    pending = pending.slice(scan.consumed);
    running = scan.running;
    const held = normalize(pending).text.length;
    assert.ok(held <= HOLD_MAX, `held back ${held}: ${JSON.stringify(pending)}`);
    if (!more) assert.equal(pending, "");
  };
  for (const chunk of chunks) {
    pending += chunk;
    send(true);
  }
  send(false);
  return findings;
}

function randomChunks(text: string, random: Seeded, longest: number): string[] {
  const chunks: string[] = [];
  for (let at = 0; at < text.length; ) {
    const length = 1 + random.below(longest);
    chunks.push(text.slice(at, at + length));
    at += length;
  }
  return chunks;
}

test("every sample is found the same however it is cut in two", () => {
  for (const { text } of SAMPLES) {
    const whole = scanText(text);
    for (let cut = 0; cut <= text.length; cut++) {
      assert.deepEqual(streamed([text.slice(0, cut), text.slice(cut)]), whole, `${JSON.stringify(text)} at ${cut}`);
    }
  }
});

test("every sample is found the same one code unit at a time", () => {
  for (const { text } of SAMPLES)
    assert.deepEqual(streamed([...text].flatMap((char) => char.split(""))), scanText(text));
});

test("random text in random chunks is found the same as in one piece", () => {
  const random = seeded(20_261);
  const pieces = [
    ...SAMPLES.map(({ text }) => text),
    ..." \n,;:-+().@/_x1".split(""),
    "order ",
    "phone ",
    "\u200b\u200c",
    "\u200b".repeat(12),
    "\u{1d7d2}",
    "\ud835",
    "x".repeat(300),
    "a.b-c_d".repeat(20),
    "1 2 3 4 5 6 7 8 9 0 ",
    "4111-1111 ",
    "eyJhbGciOiJIUzI1NiJ9.eyJ",
    "BEGIN",
    "-----",
  ];
  for (let round = 0; round < 400; round++) {
    const text = Array.from({ length: 1 + random.below(12) }, () => {
      const piece = random.pick(pieces);
      return random.below(3) === 0 ? piece.slice(random.below(piece.length)) : piece;
    }).join(random.pick(["", " ", "\n"]));
    const chunks = randomChunks(text, random, random.pick([2, 9, 60, 400]));
    assert.deepEqual(streamed(chunks), scanText(text), JSON.stringify(chunks));
  }
});

test("a long text in slices is found the same as in one piece, with pauses", async () => {
  const random = seeded(7);
  let text = "";
  while (text.length < 200_000) text += `${random.pick(SAMPLES).text}${random.pick(["\n", " ", " and "])}`;
  let pauses = 0;
  const sliced = await scanSlices({ text }, async () => {
    pauses++;
  });
  assert.deepEqual(sliced.findings, scanText(text));
  assert.equal(sliced.consumed, text.length);
  assert.ok(pauses >= 5);
  const open = await scanSlices({ text: `${"word ".repeat(16_000)}411111`, more: true }, async () => {});
  assert.equal(open.consumed, 80_000);
});
