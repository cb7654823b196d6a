/**
 * Licences of a Debian package from its copyright file: certain where the file has the machine-readable
 * form (DEP-5, copyright-format 1.0), else only hints, which are told as such.
 */
import { isSpdxExpression } from "../spdx.ts";
import { byText } from "./catalog.ts";

export interface DebianLicences {
  /** SPDX expressions where the short name is known, else the short name; sorted. */
  readonly stated: readonly string[];
  /** Texts of /usr/share/common-licenses that a file without the machine-readable form points to; sorted. */
  readonly hinted: readonly string[];
}

const LICENCES_MAX = 200;
const NAME_MAX_LENGTH = 200;

/** DEP-5's short names that differ from SPDX's, without a version. */
const FAMILIES: Readonly<Record<string, string>> = {
  gpl: "GPL",
  lgpl: "LGPL",
  agpl: "AGPL",
  gfdl: "GFDL",
  "gfdl-niv": "GFDL",
};
const NAMES: Readonly<Record<string, string>> = {
  apache: "Apache-2.0",
  "apache-2": "Apache-2.0",
  "apache-2.0": "Apache-2.0",
  artistic: "Artistic-1.0-Perl",
  "artistic-1": "Artistic-1.0-Perl",
  "artistic-2": "Artistic-2.0",
  "artistic-2.0": "Artistic-2.0",
  "bsd-2-clause": "BSD-2-Clause",
  "bsd-3-clause": "BSD-3-Clause",
  "bsd-4-clause": "BSD-4-Clause",
  "bsd-4-clause-uc": "BSD-4-Clause-UC",
  "bsl-1.0": "BSL-1.0",
  "cc0-1.0": "CC0-1.0",
  "cc-by-3.0": "CC-BY-3.0",
  "cc-by-4.0": "CC-BY-4.0",
  "cc-by-sa-3.0": "CC-BY-SA-3.0",
  "cc-by-sa-4.0": "CC-BY-SA-4.0",
  expat: "MIT",
  isc: "ISC",
  mit: "MIT",
  "mpl-1.1": "MPL-1.1",
  "mpl-2.0": "MPL-2.0",
  openssl: "OpenSSL",
  "psf-2": "PSF-2.0",
  python: "PSF-2.0",
  "python-2.0": "Python-2.0",
  unlicense: "Unlicense",
  zlib: "Zlib",
  "0bsd": "0BSD",
};

/** Reads a copyright file; one that says nothing readable gives two empty lists. */
export function readDebianCopyright(text: string): DebianLicences {
  if (/^Format:\s*\S*copyright-format\/1\.0/im.test(text.slice(0, 4096))) {
    const stated = new Set<string>();
    for (const paragraph of text.split(/\n[ \t]*\n/)) {
      // Paragraphs without Files are a licence's text, or the header's summary of a whole.
      if (!/^Files:/m.test(paragraph)) continue;
      const name = /^License:[ \t]*([^\n]*)/m.exec(paragraph)?.[1]?.trim();
      if (name && name.length <= NAME_MAX_LENGTH && stated.size < LICENCES_MAX) stated.add(spdxOf(name) ?? name);
    }
    return { stated: [...stated].sort(byText), hinted: [] };
  }
  const hinted = new Set<string>();
  for (const [, name = ""] of text.matchAll(/\/usr\/share\/common-licenses\/([A-Za-z][A-Za-z0-9.+-]*[A-Za-z0-9])/g)) {
    if (hinted.size < LICENCES_MAX) hinted.add(name);
  }
  return { stated: [], hinted: [...hinted].sort(byText) };
}

/** The SPDX expression that a DEP-5 licence line means; undefined if a part of it has no SPDX name. */
export function spdxOf(line: string): string | undefined {
  // A comma binds weaker than "and" and "or" in DEP-5: "A or B, and C". Only the plain forms are read.
  if (line.includes(",")) return undefined;
  const words = line.split(/\s+(and|or)\s+/i);
  const operators = new Set(words.filter((_, i) => i % 2 === 1).map((word) => word.toUpperCase()));
  if (operators.size > 1) return undefined;
  const [operator = "AND"] = operators;
  const names = words.filter((_, i) => i % 2 === 0).map(spdxName);
  if (names.includes(undefined)) return undefined;
  const expression = names.join(` ${operator} `);
  return isSpdxExpression(expression) ? expression : undefined;
}

function spdxName(name: string): string | undefined {
  const key = name.toLowerCase();
  const known = Object.hasOwn(NAMES, key) ? NAMES[key] : undefined;
  if (known !== undefined) return known;
  const match = /^([a-z]+(?:-niv)?)-(\d+)(?:\.(\d+))?(\+?)$/.exec(key);
  const family = match?.[1] === undefined || !Object.hasOwn(FAMILIES, match[1]) ? undefined : FAMILIES[match[1]];
  if (match && family !== undefined) {
    return `${family}-${match[2]}.${match[3] ?? "0"}-${match[4] === "+" ? "or-later" : "only"}`;
  }
  return isSpdxExpression(name) && !/\s/.test(name) ? name : undefined;
}
