import assert from "node:assert/strict";
import { test } from "node:test";
import { readDebianCopyright, spdxOf } from "../../../sbom/generate/debian-licences.ts";
import { file, layer, propertiesOf, sbomOf, symlink } from "../../support/layer-tar.ts";

const FORMAT = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n";

test("takes the licences of the files, not the licences' texts, from a machine-readable file", () => {
  const text = `${FORMAT}Upstream-Name: x\n\nFiles: *\nCopyright: me\nLicense: GPL-2+\n text\n\nFiles: a\nLicense: Expat\n\nLicense: Apache-2.0\n long text\n`;
  assert.deepEqual(readDebianCopyright(text), { stated: ["GPL-2.0-or-later", "MIT"], hinted: [] });
});

test("writes short names as SPDX does where they have a name there, and leaves the others as they are", () => {
  const truth: Readonly<Record<string, string | undefined>> = {
    "GPL-2+": "GPL-2.0-or-later",
    "GPL-3": "GPL-3.0-only",
    "LGPL-2.1+": "LGPL-2.1-or-later",
    "GFDL-1.3+": "GFDL-1.3-or-later",
    "BSD-3-clause": "BSD-3-Clause",
    "GPL-2+ or Artistic-2.0": "GPL-2.0-or-later OR Artistic-2.0",
    "Expat and ISC": "MIT AND ISC",
    "GPL-2 or Expat and ISC": undefined,
    "GPL-2+, and Expat": undefined,
    "public-domain": undefined,
    "GPL-2+ with OpenSSL exception": undefined,
    "": undefined,
  };
  for (const [line, want] of Object.entries(truth)) assert.equal(spdxOf(line), want, line);
  const text = `${FORMAT}\nFiles: *\nLicense: public-domain\n`;
  assert.deepEqual(readDebianCopyright(text).stated, ["public-domain"]);
});

test("a free text gives hints only", () => {
  const text = "This is free software, see `/usr/share/common-licenses/GPL-2'.\nOr /usr/share/common-licenses/BSD.";
  assert.deepEqual(readDebianCopyright(text), { stated: [], hinted: ["BSD", "GPL-2"] });
  assert.deepEqual(readDebianCopyright(""), { stated: [], hinted: [] });
});

test("a package's licences come from its own directory, or from the one that it links to", async () => {
  const status = (name: string): string =>
    `Package: ${name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n`;
  const sbom = await sbomOf(
    layer(
      file("etc/os-release", "ID=debian\nVERSION_ID=13\n"),
      file("var/lib/dpkg/status", ["a", "b", "c"].map(status).join("")),
      file("usr/share/doc/a/copyright", `${FORMAT}\nFiles: *\nLicense: Expat\n`),
      symlink("usr/share/doc/b", "a"),
      file("usr/share/doc/c/copyright", "see /usr/share/common-licenses/GPL-2"),
    ),
  );
  const of = (name: string) => sbom.components.find((one) => one.name === name);
  for (const name of ["a", "b"]) assert.match(JSON.stringify(of(name)?.licenses), /"id":"MIT"/);
  assert.equal(of("c")?.licenses, undefined);
  const c = of("c");
  assert.ok(c);
  assert.deepEqual(propertiesOf(c, "sealift:licence:uncertain"), ["GPL-2"]);
});
