import { rename } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KIT_LOCK, newestKitLock } from "../../bundles/kit/debian-packages.ts";
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
    "Needs gpgv, xz and a Debian mirror; the lists are believed by Debian's signature.",
  ],
  options: {},
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const progress = terminal.progress("locking");
    const lock = await newestKitLock({ cacheDir: cacheDirectory(), now: new Date(), onProgress: progress.update });
    const path = join(ROOT, KIT_LOCK);
    await writeNew(`${path}.${process.pid}`, Buffer.from(`${JSON.stringify(lock, null, 2)}\n`));
    await rename(`${path}.${process.pid}`, path);
    progress.done(KIT_LOCK);
    terminal.result("Next: look at the difference, commit it, then sealift kit build");
    terminal.document({ path, lock });
    return 0;
  },
};
