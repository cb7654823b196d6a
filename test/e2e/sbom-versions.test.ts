/** Our orders of versions against their owners, on seeded random versions: Python's packaging, Maven, dpkg and rpm. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compareDebianVersions, parseDebianVersion } from "../../sbom/debian-version.ts";
import { compareRpmVersions } from "../../sbom/rpm-version.ts";
import { compareMavenVersions } from "../../sbom/scan/version/maven.ts";
import { comparePythonVersions } from "../../sbom/scan/version/python.ts";
import { skipWithout } from "../support/peers.ts";
import {
  DPKG_PARTS,
  dpkgOrders,
  MAVEN_PARTS,
  mavenOrders,
  neighbours,
  oddVersions,
  PYTHON_PARTS,
  pythonOrders,
  RPM_PARTS,
  rpmOrders,
  skipWithoutDpkg,
  skipWithoutMaven,
  skipWithoutPackaging,
} from "../support/version-oracles.ts";

const SEED = 20261121;

const versions = (count: number, parts: readonly string[]): string[] => oddVersions(count, parts, SEED);

test("orders versions as Python's packaging does", { skip: skipWithoutPackaging() }, () => {
  const wanted = neighbours(versions(20_000, PYTHON_PARTS));
  const truth = pythonOrders(wanted);
  assert.ok(truth.filter((one) => one !== null).length > 1000);
  for (const [i, [a, b]] of wanted.entries()) {
    const got = comparePythonVersions(a, b);
    assert.equal(got === undefined ? null : Math.sign(got), truth[i], `${a} ${b}`);
  }
});

test("orders versions as Maven does", { skip: skipWithoutMaven() }, () => {
  const wanted = neighbours(versions(1500, MAVEN_PARTS));
  const truth = mavenOrders(wanted);
  assert.equal(truth.length, wanted.length);
  for (const [i, [a, b]] of wanted.entries()) {
    assert.equal(Math.sign(compareMavenVersions(a, b) ?? Number.NaN), truth[i], `${a} ${b}`);
  }
});

test("orders versions as dpkg does", { skip: skipWithoutDpkg() }, () => {
  const wanted = neighbours(versions(1500, DPKG_PARTS).filter((text) => parseDebianVersion(text) !== undefined));
  const truth = dpkgOrders(wanted);
  assert.equal(truth.length, wanted.length);
  for (const [i, [a, b]] of wanted.entries()) {
    const [x, y] = [parseDebianVersion(a), parseDebianVersion(b)];
    assert.ok(x && y);
    assert.equal(Math.sign(compareDebianVersions(x, y)), truth[i], `${a} ${b}`);
  }
});

test("orders versions as rpm does", { skip: skipWithout("rpm") }, () => {
  const wanted = neighbours(versions(2000, RPM_PARTS));
  const truth = rpmOrders(wanted);
  assert.equal(truth.length, wanted.length);
  for (const [i, [a, b]] of wanted.entries()) {
    assert.equal(Math.sign(compareRpmVersions(a, b) ?? Number.NaN), truth[i], `${a} ${b}`);
  }
});
