/** Every verb, in the order in which `sealift help` lists them. Each is loaded only when it is called. */
import type { Command } from "./command.ts";

type Loader = () => Promise<Command>;

export const commands: ReadonlyMap<string, Loader> = new Map<string, Loader>([
  ["bundle build", async () => (await import("./bundle-build.ts")).bundleBuild],
  ["bundle lock", async () => (await import("./bundle-lock.ts")).bundleLock],
  ["bundle rebuild", async () => (await import("./bundle-rebuild.ts")).bundleRebuild],
  ["bundle sign", async () => (await import("./bundle-sign.ts")).bundleSign],
  ["bundle attach", async () => (await import("./bundle-attach.ts")).bundleAttach],
  ["bundle inspect", async () => (await import("./bundle-inspect.ts")).bundleInspect],
  ["verify", async () => (await import("./verify.ts")).verify],
  ["schema", async () => (await import("./schema.ts")).schema],
]);
