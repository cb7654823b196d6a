import assert from "node:assert/strict";
import test from "node:test";
import { parseSigners, signerLine } from "../../installer/site/allowed-signers.ts";
import {
  ACTIONS,
  type AuthorityParts,
  addOperators,
  makeAuthority,
  parseAuthority,
  removeOperator,
} from "../../installer/site/authority.ts";
import { makeSigner } from "../support/ssh-signer.ts";
import { coded } from "../support/test-trust.ts";

const key = makeSigner().key;
const KEY = `${key.type} ${key.base64}`;
const OPTIONS = 'namespaces="sealift-authorization"';
const other = makeSigner().key;

test("reads lines with comments, dates and Windows line ends, and writes them back", () => {
  const text = [
    "# operators",
    "",
    `alice@site ${OPTIONS},valid-after="20260101Z",valid-before="20271231235959Z" ${KEY} alice's laptop\r`,
    `alice@site ${OPTIONS} ${other.type} ${other.base64}`,
  ].join("\n");
  const signers = parseSigners(text, "operators");
  assert.deepEqual(
    signers.map(({ principal, validAfter }) => [principal, validAfter]),
    [
      ["alice@site", "20260101Z"],
      ["alice@site", undefined],
    ],
  );
  assert.deepEqual(parseSigners(signers.map(signerLine).join("\n"), "again"), signers);
});

const refused: [string, string, string?][] = [
  ["a wildcard", `* ${OPTIONS} ${KEY}`],
  ["a pattern", `*@site ${OPTIONS} ${KEY}`],
  ["a list of principals", `alice,bob ${OPTIONS} ${KEY}`],
  ["a negated principal", `!alice ${OPTIONS} ${KEY}`],
  ["a quoted principal", `"alice" ${OPTIONS} ${KEY}`],
  ["the recovery key's name", `sealift-recovery ${OPTIONS} ${KEY}`],
  ["no namespaces", `alice ${KEY}`],
  ["another namespace", `alice namespaces="file" ${KEY}`],
  ["a second namespace", `alice namespaces="sealift-authorization,file" ${KEY}`],
  ["a pattern of namespaces", `alice namespaces="sealift-*" ${KEY}`],
  ["namespaces twice", `alice ${OPTIONS},${OPTIONS} ${KEY}`],
  ["a certificate authority", `alice cert-authority,${OPTIONS} ${KEY}`],
  ["an option nobody knows", `alice ${OPTIONS},no-touch-required ${KEY}`],
  ["a date without Z", `alice ${OPTIONS},valid-before="20271231" ${KEY}`],
  ["a day that does not exist", `alice ${OPTIONS},valid-before="20270230Z" ${KEY}`],
  ["an hour that does not exist", `alice ${OPTIONS},valid-before="202702282501Z" ${KEY}`],
  ["a key twice", `alice ${OPTIONS} ${KEY}\nbob ${OPTIONS} ${KEY}`],
  ["a key kind that says another", `alice ${OPTIONS} ssh-rsa ${key.base64}`, "SSH_KEY_MALFORMED"],
  ["base64 with a letter more", `alice ${OPTIONS} ${KEY}A`, "SSH_KEY_MALFORMED"],
  ["no key", `alice ${OPTIONS}`, "SSH_KEY_MALFORMED"],
];

for (const [what, text, code = "AUTHORITY_MALFORMED"] of refused) {
  test(`operators with ${what} are refused`, () => {
    assert.throws(() => parseSigners(text, "operators"), coded(code));
  });
}

const alice = { principal: "alice", key };
const bob = { principal: "bob", key: other };
const parts = (change: Partial<AuthorityParts> = {}): AuthorityParts => ({
  operators: [alice, bob],
  reviewers: [],
  thresholds: {},
  recoveryKey: undefined,
  ...change,
});

test("every action has a threshold, 1 if not said, and it counts people, not keys", () => {
  const { document } = makeAuthority(parts({ thresholds: { upgrade: 2 } }), 1);
  assert.deepEqual(Object.keys(document.thresholds).sort(), [...ACTIONS].sort());
  assert.deepEqual([document.thresholds.upgrade, document.thresholds.install], [2, 1]);
  const twoKeys = [alice, { principal: "alice", key: other }];
  assert.throws(
    () => makeAuthority(parts({ operators: twoKeys, thresholds: { install: 2 } }), 1),
    coded("AUTHORITY_THRESHOLD"),
  );
  assert.throws(() => makeAuthority(parts({ thresholds: { install: 0 } }), 1), coded("AUTHORITY_MALFORMED"));
});

test("no key serves two of operator, reviewer and recovery", () => {
  assert.throws(
    () => makeAuthority(parts({ reviewers: [{ principal: "rita", key }] }), 1),
    coded("AUTHORITY_MALFORMED"),
  );
  assert.throws(() => makeAuthority(parts({ recoveryKey: key }), 1), coded("AUTHORITY_MALFORMED"));
  assert.throws(() => makeAuthority(parts({ operators: [] }), 1), coded("AUTHORITY_MALFORMED"));
});

test("operators come and go, but not below a threshold, not twice, and not if nobody has the name", () => {
  const authority = makeAuthority(parts({ thresholds: { upgrade: 2 } }), 4);
  const carol = { principal: "carol", key: makeSigner().key };
  const three = addOperators(authority, [carol]);
  assert.deepEqual([three.document.version, three.operators.length], [5, 3]);
  assert.deepEqual(removeOperator(three, "carol").document.operators, authority.document.operators);
  assert.throws(() => removeOperator(authority, "bob"), coded("AUTHORITY_THRESHOLD"));
  assert.throws(() => removeOperator(authority, "nobody"), coded("OPERATOR_UNKNOWN"));
  assert.throws(() => addOperators(authority, [alice]), coded("AUTHORITY_MALFORMED"));
  assert.throws(() => addOperators(authority, []), coded("AUTHORITY_MALFORMED"));
  assert.throws(() => parseAuthority({ ...authority.document, extra: 1 }), coded("AUTHORITY_MALFORMED"));
});
