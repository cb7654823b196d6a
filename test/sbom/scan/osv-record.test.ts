import assert from "node:assert/strict";
import { test } from "node:test";
import { cvssScore } from "../../../sbom/scan/cvss.ts";
import { parseOsvRecord } from "../../../sbom/scan/osv-record.ts";
import { ratingsOf, severityOf } from "../../../sbom/scan/severity.ts";
import { osvRecord } from "../../support/scan-inputs.ts";

const FOUR = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N";

const parse = (value: object): ReturnType<typeof parseOsvRecord> => parseOsvRecord(JSON.stringify(value));

test("reads a record, and takes Go's zero time for none", () => {
  const more = { modified: "0001-01-01T00:00:00Z", withdrawn: "0001-01-01T00:00:00Z" };
  const record = parse({ ...osvRecord(), ...more, aliases: null });
  assert.ok(typeof record !== "string");
  assert.equal(record.isWithdrawn, false);
  assert.equal(record.modified, undefined);
  assert.equal(record.affected[0]?.name, "lib");
  const withdrawn = parse({ ...osvRecord(), withdrawn: "2025-01-01T00:00:00Z" });
  assert.ok(typeof withdrawn !== "string" && withdrawn.isWithdrawn);
});

test("leaves out ranges of commits and keeps those of versions beside them", () => {
  const git = { type: "GIT", repo: "https://example.com/x", events: [{ introduced: "0" }, { fixed: "abc" }] };
  const versions = { type: "SEMVER", events: [{ introduced: "1.0.0" }] };
  const record = parse({
    id: "A-1",
    affected: [{ package: { ecosystem: "npm", name: "a" }, ranges: [git, versions] }],
  });
  assert.ok(typeof record !== "string");
  assert.deepEqual(record.affected[0]?.ranges, [[["introduced", "1.0.0"]]]);
  const source = parse({ id: "A-2", affected: [{ ranges: [git] }] });
  assert.ok(typeof source !== "string" && source.affected.length === 0);
});

test("says why a record cannot be read, and reads no part of it", () => {
  const affected = (item: object): object => ({ id: "A-1", affected: [item] });
  const named = { package: { ecosystem: "npm", name: "a" } };
  const range = (events: unknown, type = "SEMVER"): object => affected({ ...named, ranges: [{ type, events }] });
  const cases: readonly (readonly [object, RegExp])[] = [
    [{}, /id is missing/],
    [{ id: "a b" }, /id is missing/],
    [affected({ package: { name: "a" } }), /no ecosystem/],
    [affected({ package: { ecosystem: "npm" } }), /no package/],
    [affected({ versions: ["1"] }), /no package/],
    [range([{ introduced: "0" }], "SOMETHING"), /no known type/],
    [range([{ begins: "0" }]), /no known kind/],
    [range([{ introduced: "0", fixed: "1" }]), /no known kind/],
    [range([{ introduced: 0 }]), /without a version/],
    [range({}), /no list/],
    [affected({ ...named, versions: [1] }), /something else than texts/],
    [{ id: "A-1", modified: "yesterday" }, /no time/],
    [{ id: "A-1", aliases: [1] }, /no names/],
    [[], /no object/],
  ];
  for (const [value, want] of cases) {
    const got = parse(value);
    assert.ok(typeof got === "string" && want.test(got), `${JSON.stringify(value)}: ${JSON.stringify(got)}`);
  }
  assert.equal(parseOsvRecord("{"), "not JSON");
});

test("computes base scores of CVSS 2, 3 and 4 as the specifications' examples have them", () => {
  const truth: Readonly<Record<string, number | undefined>> = {
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H": 9.8,
    "CVSS:3.1/AV:N/AC:L/PR:H/UI:N/S:U/C:H/I:H/A:H": 7.2,
    "CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H": 8.8,
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N": 6.1,
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H": 10,
    "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N": 0,
    "CVSS:3.0/AV:N/AC:H/PR:N/UI:R/S:U/C:N/I:L/A:N": 3.1,
    "AV:N/AC:L/Au:N/C:N/I:N/A:C": 7.8,
    "AV:N/AC:L/Au:N/C:C/I:C/A:C": 10,
    "AV:L/AC:H/Au:N/C:C/I:C/A:C": 6.2,
    "CVSS:3.1/AV:N/AC:L": undefined,
    "CVSS:3.1/AV:N/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H": undefined,
    [FOUR]: 9.3,
    "CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N": 7.3,
    "CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N": 7.7,
    "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H": 10,
    "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N": 0,
    "": undefined,
  };
  for (const [vector, want] of Object.entries(truth)) assert.equal(cvssScore(vector), want, vector);
});

const rate = (item: Readonly<Record<string, unknown>>): ReturnType<typeof severityOf> => severityOf(ratingsOf(item));

test("a vector that lacks, repeats or invents a base metric has no score, and other metrics do not change one", () => {
  for (const vector of [FOUR, "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "AV:N/AC:L/Au:N/C:N/I:N/A:C"]) {
    const score = cvssScore(vector);
    assert.ok(score !== undefined && score > 7);
    const prefix = /^CVSS:[^/]+\//.exec(vector)?.[0] ?? "";
    const metrics = vector.slice(prefix.length).split("/");
    for (const [i, metric] of metrics.entries()) {
      const [name = ""] = metric.split(":");
      const without = metrics.toSpliced(i, 1);
      for (const others of [
        without,
        [...without, `${name}:X`],
        [...without, `${name}:`],
        [...without, `${name}:NL`],
        [...metrics, metric],
        [...without, `${metric}:N`],
      ]) {
        assert.equal(cvssScore(`${prefix}${others.join("/")}`), undefined, others.join("/"));
      }
    }
    assert.equal(cvssScore(`${prefix}${metrics.toReversed().join("/")}`), score, "in any order");
    // That nobody exploits it yet, or that it matters little to somebody else, is no reason to let it pass.
    assert.equal(cvssScore(`${vector}/E:U/CR:L/IR:L/AR:L`), score);
  }
  for (const other of [FOUR.replace("4.0", "4.1"), FOUR.replace("CVSS:", "cvss:"), `${FOUR}/`]) {
    assert.equal(cvssScore(other), undefined, other);
  }
});

test("takes the worst that a record says, and a word where no score is known", () => {
  const low = { type: "CVSS_V3", score: "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N" };
  const high = { type: "CVSS_V2", score: "AV:N/AC:L/Au:N/C:N/I:N/A:C" };
  const four = { type: "CVSS_V4", score: FOUR };
  const five = { type: "CVSS_V5", score: "CVSS:5.0/AV:N" };
  assert.equal(rate({ severity: [low, high] })?.level, "high");
  assert.equal(rate({ severity: [four, low] })?.score, 9.3);
  assert.equal(rate({ severity: [five], database_specific: { severity: "CRITICAL" } })?.level, "critical");
  assert.equal(rate({ severity: [five] }), undefined);
  assert.equal(rate({ ecosystem_specific: { urgency: "unimportant" } }), undefined);
  assert.equal(rate({ database_specific: { severity: "MODERATE" } })?.level, "medium");
});
