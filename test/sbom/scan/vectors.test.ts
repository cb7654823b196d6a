/** Real OSV records against the answers that the public service gave: nothing missed, nothing extra. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { renderPurl } from "../../../sbom/generate/purl.ts";
import { parseOsvRecord } from "../../../sbom/scan/osv-record.ts";
import type { Finding } from "../../../sbom/scan/report.ts";
import { sbomWith, scanOne } from "../../support/scan-inputs.ts";

const VECTORS = new URL("../../../../shared/vectors/osv/", import.meta.url).pathname;
const skip = existsSync(VECTORS) ? false : "the vectors are not on this machine";

interface Expected {
  readonly ecosystem: string;
  readonly name: string;
  readonly version: string;
  readonly ids: readonly string[];
}

function purlOf({ ecosystem, name, version }: Expected): string {
  const [base = "", release] = ecosystem.split(":");
  const slash = name.lastIndexOf("/");
  const path = slash < 0 ? { name } : { namespace: name.slice(0, slash), name: name.slice(slash + 1) };
  switch (base) {
    case "Debian":
      return renderPurl({
        type: "deb",
        namespace: "debian",
        name,
        version,
        qualifiers: { distro: `debian-${release}`, upstream: name },
      });
    case "Go":
      return renderPurl({ type: "golang", ...path, version });
    default:
      return renderPurl({ type: base.toLowerCase(), ...path, version });
  }
}

test("finds exactly the expected records for every package of the vectors", { skip }, async () => {
  const expected: Expected[] = JSON.parse(readFileSync(join(VECTORS, "expected.json"), "utf8"));
  assert.ok(expected.length > 10);
  const report = await scanOne(sbomWith(expected.map(purlOf)), join(VECTORS, "records"));
  assert.deepEqual(report.subjects[0]?.notCovered, []);
  assert.deepEqual(report.database.unreadable, []);
  for (const one of expected) {
    const found: readonly Finding[] =
      report.subjects[0]?.findings.filter((finding) => finding.package.purl === purlOf(one)) ?? [];
    assert.deepEqual(found.flatMap(({ records }) => records).sort(), [...one.ids].sort(), purlOf(one));
    assert.ok(
      found.every(({ decision }) => decision === "affected"),
      purlOf(one),
    );
  }
});

test("reads every record of the Debian history and matches by source package and release", { skip }, async () => {
  const history = join(VECTORS, "debian-dsa-dla-2023-04.ndjson");
  const purl = (name: string, version: string, distro: string, upstream: string): string =>
    renderPurl({ type: "deb", namespace: "debian", name, version, qualifiers: { arch: "amd64", distro, upstream } });
  const old = purl("libssl1.1", "1.1.1d-0+deb10u1", "debian-10", "openssl");
  const code = purl("libssl1.1", "1.1.1d-0+deb10u1", "buster", "openssl");
  const other = purl("libssl1.1", "1.1.1d-0+deb10u1", "debian-11", "openssl");
  const byBinaryName = purl("openssl-binary", "0.1", "debian-10", "nothing-of-this-name");
  const fresh = purl("libssl1.1", "9:1", "debian-10", "openssl");
  const report = await scanOne(sbomWith([old, code, other, byBinaryName, fresh]), history);
  assert.equal(report.database.records, 8466);
  const idsOf = (wanted: string): string[] =>
    (report.subjects[0]?.findings ?? []).filter((one) => one.package.purl === wanted).flatMap(({ records }) => records);
  // What the records themselves say, by a shorter reading of them.
  const truth = (release: string): string[] =>
    readFileSync(history, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => parseOsvRecord(line))
      .flatMap((record) => (typeof record === "string" ? assert.fail(record) : [record]))
      .filter(({ affected }) => affected.some((one) => one.name === "openssl" && one.ecosystem === `Debian:${release}`))
      .map(({ id }) => id)
      .sort();
  assert.ok(idsOf(old).length > 5);
  assert.deepEqual(idsOf(code).sort(), idsOf(old).sort());
  const [ten, eleven] = [truth("10"), truth("11")];
  for (const id of idsOf(old)) assert.ok(ten.includes(id), id);
  for (const id of idsOf(other)) assert.ok(eleven.includes(id), id);
  assert.deepEqual(idsOf(byBinaryName), []);
  assert.deepEqual(idsOf(fresh), []);
});
