import assert from "node:assert/strict";
import test from "node:test";
import { NOT_DETECTED, PII_CLASSES } from "../../../../compose/services/pii/src/classes.ts";
import { scanText } from "../../../../compose/services/pii/src/scan.ts";
import { SAMPLES } from "./samples.ts";

const found = (text: string, minScore = 0.5): [string, string][] =>
  scanText(text)
    .filter(({ score }) => score >= minScore)
    .map((finding) => [finding.class, text.slice(finding.start, finding.end)]);

const scoreOf = (text: string): number => scanText(text)[0]?.score ?? 0;

test("finds what each sample says, at exactly its place in the text as given", () => {
  for (const { text, finds } of SAMPLES) assert.deepEqual(found(text), finds, text);
});

test("every class has a sample, and no class is both detected and not", () => {
  const shown = new Set(SAMPLES.flatMap(({ finds }) => finds.map(([piiClass]) => piiClass)));
  assert.deepEqual(
    [...PII_CLASSES].filter((piiClass) => !shown.has(piiClass)),
    [],
  );
  for (const name of Object.keys(NOT_DETECTED)) assert.ok(!(PII_CLASSES as readonly string[]).includes(name));
});

test("one wrong check digit is not a match that blocks", () => {
  for (const text of [
    "4111 1111 1111 1112",
    "DE88 3704 0044 0532 0130 00",
    "12345678A",
    "X1234567M",
    "RSSMRA85T10A562T",
    "529.982.247-26",
    "2341 2341 2347",
    "255081416802539",
    "86 095 742 718",
    "19811218-9877",
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C37UTO7408122F1204159ZE184226B<<<<<10",
  ]) {
    assert.deepEqual(found(text, 0.8), [], text);
  }
});

test("numbers that are not given out are no SSN and no NINO", () => {
  for (const text of ["SSN 000-12-3456", "SSN 666-12-3456", "SSN 900-12-3456", "SSN 123-00-4567", "SSN 123-45-0000"]) {
    assert.ok(!found(text).some(([piiClass]) => piiClass === "us-ssn"), text);
  }
  for (const text of ["NINO BG123456A", "NINO DA123456A", "NINO AO123456A", "NINO AB123456E"]) {
    assert.deepEqual(found(text), [], text);
  }
});

test("a card needs an issuer's first digits, unless somebody says that it is a card", () => {
  assert.deepEqual(found("9999999999999995"), []);
  assert.deepEqual(found("my card is 9999999999999995"), [["payment-card", "9999999999999995"]]);
});

test("words near a number raise and lower its score: whole words, the nearest, not too far away", () => {
  const bare = scoreOf("x 555 0123 y");
  assert.ok(scoreOf("phone 555 0123") > bare);
  assert.ok(scoreOf("555 0123 (mobile)") > bare);
  assert.ok(scoreOf("order 555 0123") < bare);
  assert.ok(scoreOf("your order: please call 555 0123") > bare);
  assert.equal(scoreOf("saxophonephones 555 0123"), bare, "not a part of a word");
  assert.equal(scoreOf(`phone ${"x ".repeat(40)}555 0123`), bare, "too far");
});

test("what is a part of something longer is not found", () => {
  for (const text of [
    "id-4111111111111111",
    "v4111111111111111",
    "4111111111111111abc",
    "1.4111111111111111",
    "41111111111111111111111",
    "a1.2.3.4",
    "pkg-1.2.3.4",
    "1.2.3.4.5",
    "aa:bb:cc:dd:ee:ff",
    "00:11:22:33:44:55:66:77",
    "std::vector a::b 12::30",
    "2001::25de::cade",
    "De89370400440532013000",
    "user@host",
    "npm@10.2.0",
    "logo@2x.png",
    "git@github.com:org/repo",
    "@decorator",
    "m = a@b.dot(c)",
    "127.0.0.1 0.0.0.0 224.0.0.1 192.0.2.7",
    "password = getPassword()",
    "password: ${PASSWORD}",
    "password: correct",
    "https://user:${PASS}@host/",
    "-----BEGIN PRIVATE KEY----- is the first line",
  ]) {
    assert.deepEqual(found(text, 0.5), [], text);
  }
});

test("a weak number gives way to a strong one that starts inside it", () => {
  for (const text of ["12 4111 1111 1111 1111", "+1 4111 1111 1111 1111", "+44 4111 1111 1111 1111"]) {
    assert.deepEqual(found(text), [["payment-card", "4111 1111 1111 1111"]], text);
  }
  assert.deepEqual(found("password=DE89370400440532013000"), [["iban", "DE89370400440532013000"]]);
  assert.deepEqual(found("api_key: 'me1@example.com'"), [["email", "me1@example.com"]]);
});

test("invisible characters do not hide a match, but a row of nine parts it", () => {
  const hidden = (count: number): string => `4111${"\u200b".repeat(count)}111111111111`;
  assert.equal(found(hidden(8)).length, 1);
  assert.equal(found(hidden(9)).length, 0);
});

test("takes text that is no text", () => {
  assert.deepEqual(scanText(""), []);
  assert.deepEqual(found("\ud835 \udc00 \0 \uffff 4111111111111111 \ud83d"), [["payment-card", "4111111111111111"]]);
});
