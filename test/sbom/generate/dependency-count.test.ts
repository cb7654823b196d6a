/** Images that were made so that each package offers what each needs, or one says the same very often. */
import assert from "node:assert/strict";
import test from "node:test";
import { file, layer, OS_RELEASE, sbomOf } from "../../support/layer-tar.ts";
import { rpmDatabase, rpmPackage } from "../../support/rpm-database.ts";

const PACKAGES = 1_001;
const each = (write: (number: number) => string): string =>
  Array.from({ length: PACKAGES }, (_, i) => write(i)).join("\n");
const debian = (more: string): Buffer =>
  file(
    "var/lib/dpkg/status",
    each((i) => `Package: p${i}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n${more}\n`),
  );
const ALPINE = file("etc/os-release", "ID=alpine\nVERSION_ID=3.20.1\n");

const tooMany: Readonly<Record<string, Buffer>> = {
  dpkg: layer(file("etc/os-release", OS_RELEASE), debian("Provides: x\nDepends: x")),
  apk: layer(
    ALPINE,
    file(
      "lib/apk/db/installed",
      each((i) => `P:p${i}\nV:1\np:x\nD:x\n`),
    ),
  ),
  rpm: layer(
    file("etc/os-release", "ID=rhel\nVERSION_ID=9.4\n"),
    file(
      "var/lib/rpm/rpmdb.sqlite",
      rpmDatabase(
        Array.from({ length: PACKAGES }, (_, i) => rpmPackage(`p${i}`, "1", "1", { provides: ["x"], requires: ["x"] })),
      ),
    ),
  ),
};

for (const [name, bytes] of Object.entries(tooMany)) {
  test(`${name}: packages that all need what all offer are refused before they fill the memory`, async () => {
    await assert.rejects(sbomOf(bytes), { code: "SBOM_TOO_LARGE", message: /in more than 1000000 ways/ });
  });
}

test("apk: a package that offers and needs one thing thirty thousand times does so once", {
  timeout: 60_000,
}, async () => {
  const many = (word: string): string => Array(30_000).fill(word).join(" ");
  const sbom = await sbomOf(
    layer(ALPINE, file("lib/apk/db/installed", `P:a\nV:1\np:${many("x")}\n\nP:b\nV:1\nD:${many("x")}\n`)),
  );
  const needs = sbom.dependencies.find(({ ref }) => ref.includes("/b@"));
  assert.equal(needs?.dependsOn?.length, 1);
});

test("Python: a header of sixty thousand lines is read as fast as any other", { timeout: 60_000 }, async () => {
  const metadata = `Name: a\nVersion: 1\n${"Requires-Dist: b\n".repeat(60_000)}`;
  const others = Array.from({ length: 50 }, (_, i) =>
    file(`lib/b${i}-1.dist-info/METADATA`, `Name: b${i}\nVersion: 1\n`),
  );
  const sbom = await sbomOf(layer(file("lib/a-1.dist-info/METADATA", metadata), ...others));
  assert.equal(sbom.components.length, 51);
});
