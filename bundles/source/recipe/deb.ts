/**
 * Opens a .deb with the host's dpkg-deb (Node has no xz): its files as a tar on disk, and the parts of its
 * control archive that the package database needs. Maintainer scripts are never run and never kept.
 */
import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { DebianInput } from "../../model/appliance.ts";
import { parseControl } from "./debian-archive.ts";
import { recipeError } from "./error.ts";
import { readContent } from "./file-tree.ts";
import { runTool } from "./run-tool.ts";
import { listTar, type TarMember } from "./tar-reader.ts";

const DATA_MAX_BYTES = 2 * 1024 ** 3;
const CONTROL_MAX_BYTES = 64 * 1024 * 1024;
const CONTROL_FILE_MAX_BYTES = 16 * 1024 * 1024;

export interface UnpackedDeb {
  readonly input: DebianInput;
  /** The control file's paragraph, without a final newline. */
  readonly control: string;
  /** Path → MD5 in hexadecimal, as the package states it. */
  readonly md5sums: ReadonlyMap<string, string>;
  /** The tar with the package's files, below the spool directory. */
  readonly tar: string;
  readonly members: readonly TarMember[];
}

/**
 * @throws RECIPE_PACKAGE_MALFORMED if the file is no package, or not the one that `input` names;
 * RECIPE_PATH_UNSAFE | SOURCE_TOOL_MISSING | RECIPE_BUILD_FAILED. Does not check the file's hash.
 */
export async function unpackDeb(file: string, input: DebianInput, spool: string): Promise<UnpackedDeb> {
  const what = `package ${input.package} ${input.version}`;
  const tar = join(spool, `data-${randomUUID()}.tar`);
  const controlTar = join(spool, `control-${randomUUID()}.tar`);
  await dpkgDeb("--fsys-tarfile", file, tar, DATA_MAX_BYTES, what);
  await dpkgDeb("--ctrl-tarfile", file, controlTar, CONTROL_MAX_BYTES, what);
  const files = new Map(listTar(controlTar, what).map((member) => [member.path, member]));
  const read = (name: string): string => {
    const member = files.get(name);
    if (member?.type !== "file") return "";
    if (member.size > CONTROL_FILE_MAX_BYTES) {
      throw recipeError("RECIPE_PACKAGE_MALFORMED", `${what}: ${name}: got ${member.size} bytes`);
    }
    return readContent({ file: controlTar, position: member.position, size: member.size }).toString("utf8");
  };
  const control = read("control").trimEnd();
  const md5sums = new Map<string, string>();
  for (const line of read("md5sums").split("\n")) {
    const [, md5, path] = /^([0-9a-f]{32}) {2}(.+)$/.exec(line) ?? [];
    if (md5 !== undefined && path !== undefined) md5sums.set(path, md5);
  }
  await rm(controlTar);
  const fields = parseControl(control);
  const got = ["Package", "Version", "Architecture"].map((name) => fields.get(name));
  const want = [input.package, input.version, input.architecture];
  if (control.includes("\n\n") || got.some((value, i) => value !== want[i])) {
    throw recipeError("RECIPE_PACKAGE_MALFORMED", `${what}: its control file says ${JSON.stringify(got.join(" "))}`);
  }
  return { input, control, md5sums, tar, members: listTar(tar, what) };
}

async function dpkgDeb(verb: string, file: string, toFile: string, maxBytes: number, what: string): Promise<void> {
  const { status, stderr } = await runTool("dpkg-deb", [verb, file], { toFile, maxBytes, from: "dpkg" });
  if (status !== 0) {
    throw recipeError("RECIPE_PACKAGE_MALFORMED", `${what}: ${stderr.trim().split("\n")[0] || "dpkg-deb failed"}`);
  }
}
