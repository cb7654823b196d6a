/** Five steps on files of a state directory: a small upgrade. The third says which is current, and commits. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Ground } from "../../installer/lifecycle/execute.ts";
import type { OperationKind, Probe, Step } from "../../installer/lifecycle/step.ts";
import { type Disk, makeDirectory, removeDurably, removeTree, writeWhole } from "../../installer/site/disk.ts";

type Release = "OLD" | "NEW";

function currentOf(directory: string): string {
  return readFileSync(join(directory, "site", "current"), "utf8");
}

function setCurrent(disk: Disk, directory: string, release: Release): void {
  writeWhole(disk, join(directory, "site", "current"), Buffer.from(release));
}

function stagedPath(directory: string): string {
  return join(directory, "deployments", "new");
}

/** The state in which the toy begins: OLD is current, its configuration is "old". */
export function prepareToy({ paths, disk }: Ground): void {
  setCurrent(disk, paths.directory, "OLD");
  writeWhole(disk, join(paths.directory, "site", "config"), Buffer.from("old"));
}

/** What of the site the toy changes, in one line. */
export function toyState(directory: string): string {
  const config = readFileSync(join(directory, "site", "config"), "utf8");
  const current = currentOf(directory);
  const staged = existsSync(stagedPath(directory)) ? "staged" : "-";
  const note = existsSync(join(directory, "site", "note")) ? "note" : "-";
  const backup = existsSync(join(directory, "backups", "toy")) ? "backup" : "-";
  return [current, config, staged, note, backup].join(" ");
}

export const TOY_OLD = "OLD old - - -";
export const TOY_NEW = "NEW new staged note backup";

const answer = (isDone: boolean): Probe => (isDone ? "done" : "not-done");

export const toyOperation: OperationKind<Ground> = {
  name: "toy",
  facts: () => ({ toy: "NEW" }),
  steps: ({ paths, disk }, parameters) => {
    const { directory } = paths;
    const at = (...names: string[]): string => join(directory, ...names);
    const breaks = parameters["breaks"];
    const file = (name: string, path: string, text: string): Step => ({
      name,
      intent: `write ${name}`,
      do: async () => {
        writeWhole(disk, path, Buffer.from(text));
        if (breaks === name) throw new Error("broken on purpose");
      },
      undo: async () => removeDurably(disk, path),
      probe: async () => answer(existsSync(path)),
    });
    const config = at("site", "config");
    return [
      {
        name: "stage",
        intent: "make the release's directory",
        do: async () => {
          makeDirectory(disk, stagedPath(directory));
          if (breaks === "stage") throw new Error("broken on purpose");
        },
        undo: async () => removeTree(disk, stagedPath(directory)),
        probe: async () => answer(existsSync(stagedPath(directory))),
      },
      file("backup", at("backups", "toy"), "copy of old"),
      {
        name: "switch",
        intent: "let current name the new release",
        isCommit: true,
        do: async () => {
          if (breaks === "switch") throw new Error("broken on purpose");
          setCurrent(disk, directory, "NEW");
        },
        undo: async () => {
          if (currentOf(directory) !== "OLD") setCurrent(disk, directory, "OLD");
        },
        probe: async () => answer(currentOf(directory) === "NEW"),
      },
      {
        name: "config",
        intent: "write the new configuration",
        do: async () => writeWhole(disk, config, Buffer.from("new")),
        undo: async () => writeWhole(disk, config, Buffer.from("old")),
        probe: async () => answer(readFileSync(config, "utf8") === "new"),
      },
      file("note", at("site", "note"), "done"),
    ];
  },
};
