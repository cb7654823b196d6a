/**
 * Text as it comes from machines, in which nothing is personal: hashes, ids, versions, order numbers, code,
 * logs, times, coordinates. Nothing is chosen by whether a detector takes it; the numbers are random, so a
 * few have valid check digits by chance, as they have in life.
 */
import { createHash } from "node:crypto";
import { type Seeded, seeded } from "./seeded.ts";

const DIGITS = "0123456789";
const HEX = "0123456789abcdef";
const UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

const digits = (random: Seeded, length: number): string => random.chars(length, DIGITS);
const between = (random: Seeded, from: number, to: number): number => from + random.below(to - from + 1);
const two = (value: number): string => String(value).padStart(2, "0");
const uuid = (random: Seeded): string => [8, 4, 4, 4, 12].map((length) => random.chars(length, HEX)).join("-");
const date = (random: Seeded): string =>
  `${between(random, 1990, 2030)}-${two(between(random, 1, 12))}-${two(between(random, 1, 28))}`;
const clock = (random: Seeded): string =>
  `${two(random.below(24))}:${two(random.below(60))}:${two(random.below(60))}.${digits(random, 3)}`;
const version = (random: Seeded): string =>
  `${random.below(20)}.${random.below(40)}.${random.below(100)}${random.pick(["", "-rc.1", `+${digits(random, 8)}`, `.${random.below(60_000)}`])}`;

type Maker = (random: Seeded) => string;

export const MAKERS: Readonly<Record<string, Maker>> = {
  "sha-1": (random) => `commit ${random.chars(40, HEX)}`,
  "sha-256": (random) => `sha256:${random.chars(64, HEX)}`,
  "sha-512 in base64": (random) =>
    `"integrity": "sha512-${createHash("sha512").update(digits(random, 9)).digest("base64")}"`,
  "short hash": (random) => `index ${random.chars(7, HEX)}..${random.chars(7, HEX)} 100644`,
  fingerprint: (random) => Array.from({ length: 20 }, () => random.chars(2, HEX).toUpperCase()).join(":"),
  "mac address": (random) =>
    `link/ether ${Array.from({ length: 6 }, () => random.chars(2, HEX)).join(":")} brd ff:ff:ff:ff:ff:ff`,
  uuid: (random) => `"id": "${uuid(random)}"`,
  "uuid of digits": (random) => [8, 4, 4, 4, 12].map((length) => digits(random, length)).join("-"),
  ulid: (random) => `01${random.chars(24, "0123456789ABCDEFGHJKMNPQRSTVWXYZ")}`,
  version: (random) => `upgraded lib${random.chars(4, "abcdef")} from ${version(random)} to ${version(random)}`,
  package: (random) => `"node_modules/@scope/name@${version(random)}": {}`,
  "four-part version": (random) =>
    `Version ${random.below(20)}.${random.below(20)}.${random.below(20)}.${random.below(20)}`,
  "order number": (random) => `Your order ${digits(random, between(random, 7, 12))} has shipped.`,
  "grouped order number": (random) =>
    `Order no. ${digits(random, 3)}-${digits(random, 7)}-${digits(random, 7)} was delivered`,
  invoice: (random) =>
    `Invoice ${between(random, 2000, 2030)}/${digits(random, 6)} over ${digits(random, 4)}.${digits(random, 2)} EUR`,
  ticket: (random) => `see ${random.chars(4, UPPER)}-${digits(random, 5)} and #${digits(random, 6)}`,
  "tracking number": (random) => `Tracking: 1Z${random.chars(6, UPPER + DIGITS)}${digits(random, 10)}`,
  "part number": (random) => `part ${digits(random, 3)}-${digits(random, 2)}-${digits(random, 4)} in stock`,
  ean: (random) => `EAN ${digits(random, 13)}`,
  isbn: (random) => `ISBN 978-${digits(random, 1)}-${digits(random, 4)}-${digits(random, 4)}-${digits(random, 1)}`,
  snowflake: (random) => `{"message_id":${between(random, 1, 1)}${digits(random, 18)}}`,
  "database id": (random) => `WHERE id IN (${digits(random, 9)}, ${digits(random, 10)}, ${digits(random, 11)})`,
  epoch: (random) => `ts=1${digits(random, 9)} ms=1${digits(random, 12)} ns=1${digits(random, 18)}`,
  "time stamp": (random) => `${date(random)}T${clock(random)}Z ${date(random).replaceAll("-", "")}${digits(random, 6)}`,
  date: (random) =>
    `due ${two(between(random, 1, 28))}.${two(between(random, 1, 12))}.${between(random, 1990, 2030)}, ${between(random, 1, 12)}/${between(random, 1, 28)}/${between(random, 1990, 2030)}`,
  "log line": (random) =>
    `${date(random)} ${clock(random)} INFO [worker-${random.below(64)}] span=${random.chars(16, HEX)} took ${random.below(5000)} ms`,
  "kernel log": (random) =>
    `[${digits(random, 6)}.${digits(random, 6)}] mem 0x${random.chars(16, HEX)}-0x${random.chars(16, HEX)}`,
  "stack frame": (random) => `    at Object.<anonymous> (/srv/app/file.js:${random.below(2000)}:${random.below(99)})`,
  code: (random) =>
    `const mask${random.below(99)} = 0x${random.chars(8, HEX)}; // ${digits(random, 3)} of ${digits(random, 4)}`,
  "array in code": (random) => `[${Array.from({ length: 9 }, () => random.below(65_536)).join(", ")}]`,
  css: (random) => `.c { margin: ${random.below(99)}px ${random.below(99)}px; color: #${random.chars(6, HEX)} }`,
  decorator: (random) => `@app.route("/v${random.below(9)}") def f(a, b): return a @ b.T + x@y`,
  namespace: () => "std::vector<dead::beef> a::b; use crate::cafe::babe;",
  coordinates: (random) => `${random.below(90)}.${digits(random, 6)}, -${random.below(180)}.${digits(random, 7)}`,
  "number with fraction": (random) => `${digits(random, 3)}.${digits(random, 14)} 1e-${random.below(99)}`,
  amount: (random) => `$${between(random, 1, 999)},${digits(random, 3)},${digits(random, 3)}.${digits(random, 2)}`,
  table: (random) => Array.from({ length: 6 }, () => digits(random, between(random, 1, 5))).join("\t"),
  columns: (random) => Array.from({ length: 6 }, () => digits(random, between(random, 1, 6))).join("  "),
  resolution: (random) => `${between(random, 640, 7680)}x${between(random, 480, 4320)} at ${random.below(240)} Hz`,
  "range of pages": (random) =>
    `pp. ${digits(random, 3)}-${digits(random, 3)}, ${digits(random, 4)}-${digits(random, 4)}`,
  "hex dump": (random) =>
    `${random.chars(8, HEX)}  ${Array.from({ length: 16 }, () => random.chars(2, HEX)).join(" ")}`,
  base64: (random) => createHash("sha256").update(digits(random, 12)).digest("base64"),
  "key of a table": (random) =>
    `${random.chars(2, UPPER)}${digits(random, 6)}${random.chars(1, "EFGHIJKLMNOPQRSTUVWXYZ")}`,
  "serial number": (random) =>
    `Serial: ${random.chars(3, UPPER)}${digits(random, 4)}${random.chars(4, UPPER + DIGITS)}`,
  loopback: (random) => `http://127.0.0.1:${between(random, 1024, 65_535)}/ [::1]:${between(random, 1024, 65_535)}`,
  sentence: (random) =>
    `In ${between(random, 1900, 2030)} about ${digits(random, 3)} of ${digits(random, 5)} took part, ${random.below(100)} % more.`,
};

export function hardNegatives(count: number, seed: number): { readonly kind: string; readonly text: string }[] {
  const random = seeded(seed);
  const kinds = Object.entries(MAKERS);
  return Array.from({ length: count }, (_, index) => {
    const [kind, make] = kinds[index % kinds.length] as [string, Maker];
    return { kind, text: make(random) };
  });
}
