/**
 * A snapshot with the shape and the size of OSV's own exports, which are too large to keep here: a ZIP archive for each
 * ecosystem, one JSON a record. Modelled on records of Debian's export (a CVE each, several releases, long lists of
 * versions) and npm's (most of them are about malicious packages).
 */
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { zipChunks } from "./zip-file.ts";

/** As many as the exports had in 2026, in round numbers. */
export const EXPORT_RECORDS = { debian: 55_000, npm: 220_000 };
const RELEASES = ["11", "12", "13", "14"];
const SOURCES = 3_000;

/** Packages with records in the snapshot, as an SBOM has them. */
export function knownPurls(count: number): string[] {
  return Array.from({ length: count }, (_, i) => {
    const name = `src${(i * 7) % SOURCES}`;
    return i % 4 === 0
      ? `pkg:npm/lib${i * 10}@1.0.0`
      : `pkg:deb/debian/${name}@5.0.0-1?arch=amd64&distro=debian-13&upstream=${name}`;
  });
}

/** `directory/Debian/all.zip` and `directory/npm/all.zip`. */
export async function writeOsvExport(directory: string, records: typeof EXPORT_RECORDS): Promise<void> {
  const next = random(7);
  for (const [ecosystem, count, make] of [
    ["Debian", records.debian, debianRecord],
    ["npm", records.npm, npmRecord],
  ] as const) {
    await mkdir(join(directory, ecosystem), { recursive: true });
    const members = (function* () {
      for (let i = 0; i < count; i += 1) {
        const record = make(i, next);
        yield { name: `${record.id}.json`, content: JSON.stringify(record) };
      }
    })();
    await pipeline(Readable.from(zipChunks(members)), createWriteStream(join(directory, ecosystem, "all.zip")));
  }
}

type Json = { readonly id: string; readonly [member: string]: unknown };

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor(state / 65536) % below;
  };
}

function debianRecord(i: number, next: (below: number) => number): Json {
  const cve = `CVE-${2005 + (i % 21)}-${1000 + i}`;
  // A sixth of Debian's records are the kernel's.
  const name = i % 6 === 0 ? "linux" : `src${next(SOURCES)}`;
  const version = (): string => `${next(9)}.${next(30)}.${next(9)}-${1 + next(9)}`;
  const affected = RELEASES.map((release) => ({
    package: { name, ecosystem: `Debian:${release}`, purl: `pkg:deb/debian/${name}?arch=source` },
    ranges: [
      {
        type: "ECOSYSTEM",
        events: [{ introduced: "0" }, ...(next(5) > 0 ? [{ fixed: `${version()}+deb${release}u${next(5)}` }] : [])],
      },
    ],
    versions: Array.from({ length: [0, 2, 5, 20][next(4)] as number }, version),
    ecosystem_specific: { urgency: "not yet assigned" },
    database_specific: { source: `https://example.com/debian-cve-osv/DEBIAN-${cve}.json` },
  }));
  return {
    id: `DEBIAN-${cve}`,
    details: "Under certain conditions a part of it reads what it should not. ".repeat(1 + next(12)),
    modified: `2026-08-${String(1 + (i % 28)).padStart(2, "0")}T10:00:00.000001Z`,
    published: "2020-01-01T00:00:00Z",
    upstream: [cve],
    severity: [{ type: "CVSS_V3", score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H" }],
    references: [{ type: "ADVISORY", url: `https://example.com/tracker/${cve}` }],
    affected,
    schema_version: "1.7.3",
  };
}

function npmRecord(i: number): Json {
  if (i % 40 === 0) {
    const range = { type: "SEMVER", events: [{ introduced: "0" }, { fixed: "2.0.0" }] };
    return {
      id: `GHSA-${String(i).padStart(6, "0")}-aaaa`,
      aliases: [`CVE-2020-${100_000 + i}`],
      modified: "2026-08-01T00:00:00Z",
      summary: "Something takes too long",
      details: "A regular expression takes long for some inputs. ".repeat(25),
      severity: [{ type: "CVSS_V3", score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H" }],
      affected: [{ package: { name: `lib${i}`, ecosystem: "npm" }, ranges: [range] }],
      schema_version: "1.7.3",
    };
  }
  return {
    id: `MAL-2025-${i}`,
    modified: "2026-08-01T00:00:00Z",
    summary: `Malicious code in pkg${i} (npm)`,
    details: "Any computer that has this package installed should be considered fully compromised. ".repeat(4),
    affected: [
      {
        package: { name: `pkg${i}`, ecosystem: "npm", purl: `pkg:npm/pkg${i}` },
        ranges: [{ type: "SEMVER", events: [{ introduced: "0" }] }],
        versions: ["1.0.0", "99.0.0"],
        database_specific: { cwes: [{ cweId: "CWE-506", name: "Embedded Malicious Code" }] },
      },
    ],
    credits: [{ name: "somebody", type: "FINDER", contact: ["https://example.com"] }],
    schema_version: "1.7.3",
  };
}
