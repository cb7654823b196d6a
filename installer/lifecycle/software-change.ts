/**
 * What a move from one release to another changes in the software, by their SBOMs. A pure function of the two
 * releases, which the verifier has judged: the plan that operators sign has it in words, and another machine
 * that makes the plan again comes to the same words.
 */
import { type BundleRelease, DOCUMENT_MAX_BYTES } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import {
  type Change,
  type ChangeKind,
  type DiffSide,
  diffReleases,
  type ImageDiff,
  type ReleaseDiff,
} from "../../sbom/diff/diff.ts";
import { parseSbom } from "../../sbom/document.ts";

/** A release and where its documents are read from, each by its digest. */
export interface ReleaseDocuments {
  readonly layout: Pick<Layout, "read">;
  readonly release: Pick<BundleRelease, "manifest">;
}

/**
 * The software of `next` against that of `current`. Of an image that stays as it is, digest for digest, the newer
 * document counts for both: that another version of Sealift listed more of it is no change of the image.
 * @throws LAYOUT_BLOB_MISSING | LAYOUT_DIGEST_MISMATCH | LAYOUT_SIZE_MISMATCH | SBOM_MALFORMED. Checks no signature.
 */
export function softwareChange(current: ReleaseDocuments, next: ReleaseDocuments): ReleaseDiff {
  const newer = sides(next);
  const kept = new Map(next.release.manifest.images.map(({ name, digest }, i) => [`${name} ${digest}`, newer[i]]));
  const older = current.release.manifest.images.map(
    (image) => kept.get(`${image.name} ${image.digest}`) ?? side(current, image),
  );
  return diffReleases(older, newer, "by-name");
}

function sides(documents: ReleaseDocuments): DiffSide[] {
  return documents.release.manifest.images.map((image) => side(documents, image));
}

function side({ layout }: ReleaseDocuments, { name, sbom }: BundleRelease["manifest"]["images"][number]): DiffSide {
  return { name, document: parseSbom(layout.read(sbom, DOCUMENT_MAX_BYTES)), findings: undefined };
}

/** Worst first: what a person should see if not all can be shown. */
const KINDS: readonly ChangeKind[] = [
  "hash-changed",
  "downgraded",
  "replaced",
  "removed",
  "added",
  "upgraded",
  "licence-changed",
];
/** Lines of one plan; all of it is in `--plan --json` and `sealift sbom diff`. */
const CHANGES_SHOWN = 200;
const LINE_MAX_LENGTH = 400;

/** For the plan: bounded in number and length, and in an order that depends on nothing but the diff. */
export function softwareLines(diff: ReleaseDiff): string[] {
  const changed = diff.images.filter(({ presence, changes }) => presence !== "both" || changes.length > 0);
  const lines = changed.flatMap(imageLines);
  const shown = lines.slice(0, CHANGES_SHOWN);
  return [
    ...(diff.alarms === 0
      ? []
      : [`ALARM: ${diff.alarms} packages have the version that they had, and other bytes: ask the publisher why`]),
    ...(changed.length === 0 ? ["software: the same packages in every image"] : shown),
    ...(lines.length > shown.length
      ? [`software: ${lines.length - shown.length} more lines: --plan --json, or sealift sbom diff OLD NEW`]
      : []),
    "vulnerabilities fixed and new: not checked: no vulnerability snapshot",
  ].map(short);
}

function imageLines({ name, presence, changes, unchanged }: ImageDiff): string[] {
  // Of an image that comes or goes as a whole, each package of it would say nothing more.
  if (presence !== "both") return [`software of ${name}: image ${presence}, ${changes.length} packages`];
  const byKind = Map.groupBy(changes, ({ kind }) => kind);
  const counts = KINDS.flatMap((kind) => (byKind.has(kind) ? [`${byKind.get(kind)?.length} ${kind}`] : []));
  const ordered = KINDS.flatMap((kind) => byKind.get(kind) ?? []);
  return [
    `software of ${name}: ${[...counts, `${unchanged} unchanged`].join(", ")}`,
    ...ordered.map((change) => `software of ${name}: ${changeText(change)}`),
  ];
}

function changeText({ kind, package: name, from, to, before, after }: Change): string {
  const versions = from === to ? to : [from, to].filter((version) => version !== null).join(" -> ");
  const texts = before && after ? `: ${before.join(", ") || "none"} -> ${after.join(", ") || "none"}` : "";
  return `${kind === "hash-changed" ? "SAME VERSION, OTHER BYTES" : kind} ${name} ${versions}${texts}`;
}

/** What is signed is canonical JSON, which knows no half of a surrogate pair, whether a document has it or a cut makes it. */
function short(line: string): string {
  return (line.length > LINE_MAX_LENGTH ? `${line.slice(0, LINE_MAX_LENGTH)}…` : line).toWellFormed();
}
