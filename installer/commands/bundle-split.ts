import { basename, resolve } from "node:path";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { tarBytes } from "../../bundles/layout/tar-bytes.ts";
import { partsName, splitBundle } from "../../bundles/transfer/split.ts";
import { PARITY_MAX } from "../../bundles/transfer/split-plan.ts";
import { type Command, type Invocation, positionals, requiredOption, usageError } from "./command.ts";

const NAME = "bundle split";

export const bundleSplit: Command = {
  name: NAME,
  summary: "cut a bundle into media parts, with hashes and with parity (PAR2) for lost ones",
  usage: "BUNDLE --size BYTES --parity N --out DIR",
  details: [
    "--size BYTES   no file is larger; a DVD takes 4700000000, a Blu-ray disc 25000000000, FAT32 4294967295",
    `--parity N     make N parity files: any N lost or damaged files can be made again (0 to ${PARITY_MAX})`,
    "--out DIR      where the parts go; an interrupted split is continued by the same command",
    "Every verb that takes BUNDLE takes the directory with the parts. `sealift bundle repair DIR` mends them;",
    "so does `par2 repair`, and `sha256sum -c NAME.sha256` says whether they are whole.",
    "Hashes and parity are about media damage only. What may be trusted `sealift verify` says, of parts as of one file.",
  ],
  options: { size: { type: "string" }, parity: { type: "string" }, out: { type: "string" } },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "BUNDLE");
    const { terminal } = invocation;
    const sizeBytes = wholeNumber(invocation, "size", 1, Number.MAX_SAFE_INTEGER, " bytes");
    const parity = wholeNumber(invocation, "parity", 0, PARITY_MAX);
    const out = resolve(requiredOption(invocation, NAME, "out"));
    const { layout, store } = openLayout(path);
    try {
      const { descriptor, manifest } = readRelease(layout, readLayoutIndex(layout).release);
      const progress = terminal.progress("splitting");
      const result = splitBundle({
        bundle: tarBytes(store, layout),
        name: partsName(manifest.appliance, manifest.version, descriptor.digest),
        ...{ out, sizeBytes, parity },
        onProgress: (what, done, total) => progress.update(`${megabytes(done)} of ${megabytes(total)} MB ${what}`),
      });
      progress.done(`${result.parts.length} parts, ${result.parity.length} parity files`);
      for (const { name, size } of [...result.parts, ...result.parity]) terminal.result(`${name}  ${size} bytes`);
      terminal.result(
        `Put ${basename(result.list)} on every medium. Beside the parts: sha256sum -c ${basename(result.list)}`,
      );
      terminal.result("Next, where they arrive: sealift verify DIRECTORY");
      terminal.document({ digest: descriptor.digest, ...result });
      return 0;
    } finally {
      closeStore(store);
    }
  },
};

export function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6);
}

function wholeNumber(invocation: Invocation, name: string, min: number, max: number, unit = ""): number {
  const text = requiredOption(invocation, NAME, name);
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw usageError(NAME, `--${name}: got ${JSON.stringify(text)}, want a whole number from ${min} to ${max}${unit}`);
}
