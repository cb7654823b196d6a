/** What an SBOM of ours says of files that are no longer what their package installed. */
import { CHANGED_FILE_PROPERTY, CHANGED_FILES_PROPERTY, propertyValues, type SbomDocument } from "../document.ts";
import type { ChangedFiles } from "./report.ts";

/** A document of somebody else may hold anything. */
const PATH_MAX_LENGTH = 1024;

/** Of each package that has some, in document order. */
export function changedFilesOf({ components }: Pick<SbomDocument, "components">): ChangedFiles[] {
  return components.flatMap((component): ChangedFiles[] => {
    const files = propertyValues(component, CHANGED_FILE_PROPERTY).map((path) => path.slice(0, PATH_MAX_LENGTH));
    const stated = Number(propertyValues(component, CHANGED_FILES_PROPERTY)[0]);
    const count = Math.max(files.length, Number.isSafeInteger(stated) ? stated : 0);
    const purl = component.purl ?? `${component.name}@${component.version ?? ""}`;
    return count === 0 ? [] : [{ purl, count, files }];
  });
}

/** "3 files: /usr/bin/a, /usr/bin/b and 1 more" */
export function changedFilesText({ count, files }: ChangedFiles, shownMax: number): string {
  const shown = files.slice(0, shownMax);
  const rest = count - shown.length;
  const names = `${shown.join(", ")}${rest > 0 && shown.length > 0 ? ` and ${rest} more` : ""}`;
  return `${count} ${count === 1 ? "file" : "files"}${names === "" ? "" : `: ${names}`}`;
}
