/** What a cataloger says about an image: the packages of one ecosystem and the files that belong to them. */
import type { FileNode } from "./file-tree.ts";

export interface Occurrence {
  /** Absolute path in the image of the file that declares the package. */
  readonly location: string;
  /** Index of the layer that has the file. */
  readonly layer: number;
}

export interface CatalogPackage {
  /** Unique in the image; refers to the package in `dependsOn`. */
  readonly key: string;
  readonly type: "library" | "application";
  readonly name: string;
  readonly version: string | undefined;
  /** Undefined where no registry has the package: a purl would name somebody else's. */
  readonly purl: string | undefined;
  readonly supplier: string | undefined;
  /** As the package declares them: SPDX ids or expressions, or free text. */
  readonly licences: readonly string[];
  readonly properties: readonly (readonly [name: string, value: string])[];
  /** One or more, sorted by location. */
  readonly occurrences: readonly Occurrence[];
  /** Keys, sorted. */
  readonly dependsOn: readonly string[];
  /** Each dependency that the package declares was found in the image. */
  readonly isDependencyListComplete: boolean;
  /** Where the package is one file; undefined of packages that are many. */
  readonly file?: PackageFile | undefined;
}

/** What BSI TR-03183-2 wants to know of a file. */
export interface PackageFile {
  readonly name: string;
  readonly sha512: string;
  readonly isExecutable: boolean;
  /** An archive's parts can be told apart and taken out again. */
  readonly isArchive: boolean;
}

export interface Catalog {
  readonly packages: readonly CatalogPackage[];
  /** Files that look like a package's declaration but give no package, with the reason. */
  readonly skipped: readonly { readonly location: string; readonly reason: string }[];
  readonly ownedFiles: ReadonlySet<FileNode>;
}

export function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
