/**
 * `layout`: the bundle holds exactly the files that its release and its signatures account for, in the
 * canonical order, and `index.json` is the one that follows from them.
 */
import {
  type BundleEntry,
  type BundleRelease,
  fileOrder,
  groupBlobs,
  leftOut,
  renderIndexFile,
} from "../../bundles/layout/contents.ts";
import { blobName, INDEX_FILE, type Layout } from "../../bundles/layout/layout.ts";
import type { SignatureObject } from "../../bundles/layout/signature-object.ts";
import { MANIFEST_MAX_BYTES } from "../../bundles/model/oci.ts";
import { type Finding, failed, passed } from "../verdict.ts";

/** At most this many findings name single files; a bundle with more wrong is wrong enough. */
const NAMED_MAX = 20;

export function checkClosedWorld(
  layout: Layout,
  release: BundleRelease,
  signatures: readonly SignatureObject[],
): Finding[] {
  const wanted = fileOrder(groupBlobs(release, signatures));
  const have = layout.files.map((file) => file.name);
  const findings: Finding[] = [];
  const wantedNames = new Set(wanted);
  const haveNames = new Set(have);
  const absent = leftOut(layout, release);
  const borrowed = absent.filter((digest) => layout.blob(digest)).map(blobName);
  const mayBeLeftOut = new Set(absent.map(blobName));
  const missing = wanted.filter((name) => !haveNames.has(name) && !borrowed.includes(name));
  for (const name of missing.slice(0, NAMED_MAX)) {
    const where = mayBeLeftOut.has(name)
      ? "neither in the bundle nor in what the site or --base has"
      : "not in the bundle";
    findings.push(failed("layout", name, "LAYOUT_BLOB_MISSING", `${name} is ${where}`));
  }
  for (const name of have.filter((name) => !wantedNames.has(name)).slice(0, NAMED_MAX)) {
    findings.push(
      failed("layout", name, "LAYOUT_FOREIGN_FILE", `${name} is not part of the release or of a signature`),
    );
  }
  findings.push(...sizeFindings(layout, release));
  if (!layout.readUnverified(INDEX_FILE, MANIFEST_MAX_BYTES).equals(renderIndexFile(release, signatures))) {
    findings.push(
      failed("layout", INDEX_FILE, "LAYOUT_INDEX_DIFFERS", `${INDEX_FILE} is not the one that Sealift writes`),
    );
  }
  if (findings.length === 0 && layout.kind !== "directory" && isUnordered(wanted, have)) {
    findings.push(failed("layout", "tar", "LAYOUT_ORDER", "the files are not in the canonical order"));
  }
  return findings.length > 0
    ? findings
    : [
        passed(
          "layout",
          layout.kind === "directory" ? "directory" : "tar",
          `${have.length} files, each accounted for, and nothing else${borrowedText(borrowed.length)}`,
        ),
      ];
}

function borrowedText(count: number): string {
  return count === 0 ? "" : `; ${count} more that a thin bundle leaves out are in what the site or --base has`;
}

/** Where all that is there belongs there: a thin bundle keeps the order of a whole one. */
function isUnordered(wanted: readonly string[], have: readonly string[]): boolean {
  const there = new Set(have);
  return wanted.filter((name) => there.has(name)).some((name, i) => name !== have[i]);
}

/** Each blob has the size that its manifest says; the digest is checked with all others. */
function sizeFindings(layout: Layout, release: BundleRelease): Finding[] {
  const findings: Finding[] = [];
  const entries: [string, BundleEntry][] = [["release", release.document], ...release.images, ...release.files];
  for (const [name, { manifest }] of entries) {
    for (const { digest, size } of [manifest.config, ...manifest.layers]) {
      const file = layout.blob(digest);
      if (file && file.size !== size) {
        const message = `blob ${digest}: got ${file.size} bytes, want ${size}`;
        findings.push(failed("layout", name, "LAYOUT_SIZE_MISMATCH", message));
      }
    }
  }
  return findings;
}
