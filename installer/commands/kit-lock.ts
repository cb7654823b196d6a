import { readFileSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KIT_LOCK, type KitLock, newestKitLock, parseKitLock } from "../../bundles/kit/debian-packages.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { cacheDirectory } from "../host/this-host.ts";
import { writeNew } from "../host/write-new.ts";
import { type Command, positionals } from "./command.ts";

const NAME = "kit lock";
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export const kitLock: Command = {
  name: NAME,
  summary: "refresh the versions of the Debian packages that a kit carries",
  usage: "",
  details: [
    `Writes ${KIT_LOCK} in this checkout; \`kit build\` takes it when it is committed.`,
    "Needs gpgv, xz and a Debian mirror; the lists are believed by Debian's signature. For Ubuntu's packages it also",
    "needs ubuntu-keyring and a mirror of Ubuntu (SEALIFT_UBUNTU_MIRROR=URL…); without one they stay as they were.",
  ],
  options: {},
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const progress = terminal.progress("locking");
    const path = join(ROOT, KIT_LOCK);
    const options = { cacheDir: cacheDirectory(), now: new Date(), previous: previousLock(path) };
    const { lock, kept } = await newestKitLock({ ...options, onProgress: progress.update });
    await writeNew(`${path}.${process.pid}`, Buffer.from(`${JSON.stringify(lock, null, 2)}\n`));
    await rename(`${path}.${process.pid}`, path);
    progress.done(KIT_LOCK);
    for (const host of kept) {
      const is = lock.platforms["linux/amd64"][host] ? "stays as it was" : "is not in the lock";
      terminal.note(`note: ${host} ${is}: no mirror of its packages is known; SEALIFT_UBUNTU_MIRROR=URL names one`);
    }
    terminal.result("Next: look at the difference, commit it, then sealift kit build");
    terminal.document({ path, lock, kept });
    return 0;
  },
};

/** Undefined where there is none, and where it is another version's: it is about to be replaced. */
function previousLock(path: string): KitLock | undefined {
  try {
    return parseKitLock(readFileSync(path));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    if (cause instanceof SealiftError && cause.code === "KIT_SOURCE_REFUSED") return undefined;
    throw cause;
  }
}
