/**
 * Files that are no longer what their package installed: the package manager recorded a digest when it did, and the
 * image has other bytes. Files that are missing, and configuration, are none of them: images leave documentation
 * out, and configuration is there to be changed.
 *
 * Whoever changes a file can change the record too: this finds what was changed openly, in a build or by hand.
 */
import { CHANGED_FILE_PROPERTY, CHANGED_FILES_PROPERTY } from "../document.ts";
import { byText } from "./catalog.ts";
import type { DigestName } from "./file-digests.ts";
import type { FileNode } from "./file-tree.ts";

const NOT_COMPARED = "sealift:package:files-not-compared";
/** Of one package; the number of all is told. */
const SHOWN_MAX = 20;

export interface RecordedFile {
  /** Absolute path. */
  readonly path: string;
  readonly file: FileNode;
  readonly algorithm: DigestName;
  /** In hexadecimal. */
  readonly digest: string;
}

/** Properties of the package that has these files; none if all are as they were recorded. */
export function changedFileProperties(recorded: Iterable<RecordedFile>): (readonly [name: string, value: string])[] {
  const changed: string[] = [];
  let notCompared = 0;
  for (const { path, file, algorithm, digest } of recorded) {
    const value = file.digests[algorithm];
    if (value === undefined) notCompared += 1;
    else if (Buffer.from(value, "latin1").toString("hex") !== digest) changed.push(path);
  }
  const shown = changed.sort(byText).slice(0, SHOWN_MAX);
  return [
    ...(changed.length > 0 ? [[CHANGED_FILES_PROPERTY, String(changed.length)] as const] : []),
    ...shown.map((path) => [CHANGED_FILE_PROPERTY, path] as const),
    ...(notCompared > 0 ? [[NOT_COMPARED, String(notCompared)] as const] : []),
  ];
}
