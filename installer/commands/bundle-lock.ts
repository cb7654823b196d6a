import { readApplianceDirectory, readLock } from "../../bundles/assemble/appliance-directory.ts";
import { refreshLock } from "../../bundles/assemble/lock.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { cacheDirectory, hostPlatform } from "../host/this-host.ts";
import { type Command, positionals, repeatedOption, requiredOption } from "./command.ts";

export const bundleLock: Command = {
  name: "bundle lock",
  summary: "refresh the locked inputs: package versions and digests, image digests behind tags",
  usage: "--appliance FILE [--platform P]…",
  details: [
    "--appliance FILE   the appliance file; the lock lies beside it as NAME.lock.json",
    "--platform P       may be given twice; the platforms of the present lock if absent",
  ],
  options: { appliance: { type: "string" }, platform: { type: "string", multiple: true } },
  run: async (invocation) => {
    positionals(invocation, "bundle lock");
    const { terminal } = invocation;
    const directory = await readApplianceDirectory(requiredOption(invocation, "bundle lock", "appliance"));
    const before = await readLock(directory).catch((cause: unknown) => {
      if (cause instanceof SealiftError && cause.code === "LOCK_MISSING") return undefined;
      throw cause;
    });
    const asked = repeatedOption(invocation, "platform");
    const platforms = asked.length > 0 ? asked : before ? Object.keys(before.platforms) : [hostPlatform()];
    const progress = terminal.progress("locking");
    const { path, lock } = await refreshLock({
      directory,
      platforms,
      cacheDir: cacheDirectory(),
      now: new Date(),
      onProgress: progress.update,
    });
    progress.done(path);
    for (const [platform, images] of Object.entries(lock.platforms)) {
      for (const [name, image] of Object.entries(images)) {
        const changed = JSON.stringify(before?.platforms[platform]?.[name]) !== JSON.stringify(image);
        terminal.result(`${platform}  ${name.padEnd(16)} ${image.kind.padEnd(9)} ${changed ? "changed" : "as before"}`);
      }
    }
    terminal.document({ path, lock });
    return 0;
  },
};
