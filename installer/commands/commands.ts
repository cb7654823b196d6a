/** Every verb, in the order in which `sealift help` lists them. Each is loaded only when it is called. */
import type { Command } from "./command.ts";

type Loader = () => Promise<Command>;

export const commands: ReadonlyMap<string, Loader> = new Map<string, Loader>([
  ["key generate", async () => (await import("./key-generate.ts")).keyGenerate],
  ["trust init", async () => (await import("./trust-init.ts")).trustInit],
  ["trust sign", async () => (await import("./trust-sign.ts")).trustSign],
  ["trust show", async () => (await import("./trust-show.ts")).trustShow],
  ["trust import", async () => (await import("./trust-import.ts")).trustImport],
  ["bundle build", async () => (await import("./bundle-build.ts")).bundleBuild],
  ["bundle lock", async () => (await import("./bundle-lock.ts")).bundleLock],
  ["bundle rebuild", async () => (await import("./bundle-rebuild.ts")).bundleRebuild],
  ["bundle sign", async () => (await import("./bundle-sign.ts")).bundleSign],
  ["bundle attach", async () => (await import("./bundle-attach.ts")).bundleAttach],
  ["bundle serve", async () => (await import("./bundle-serve.ts")).bundleServe],
  ["bundle inspect", async () => (await import("./bundle-inspect.ts")).bundleInspect],
  ["verify", async () => (await import("./verify.ts")).verify],
  ["verify-blob", async () => (await import("./verify-blob.ts")).verifyBlobCommand],
  ["sbom generate", async () => (await import("./sbom-generate.ts")).sbomGenerate],
  ["sbom show", async () => (await import("./sbom-show.ts")).sbomShow],
  ["sbom validate", async () => (await import("./sbom-validate.ts")).sbomValidate],
  ["kit build", async () => (await import("./kit-build.ts")).kitBuild],
  ["host setup", async () => (await import("./host-setup.ts")).hostSetup],
  ["doctor", async () => (await import("./doctor.ts")).doctor],
  ["site init", async () => (await import("./site-init.ts")).siteInit],
  ["operator list", async () => (await import("./operator.ts")).operatorList],
  ["operator add", async () => (await import("./operator.ts")).operatorAdd],
  ["operator remove", async () => (await import("./operator.ts")).operatorRemove],
  ["authorize", async () => (await import("./authorize.ts")).authorize],
  ["recover", async () => (await import("./recover.ts")).recover],
  ["ledger show", async () => (await import("./ledger.ts")).ledgerShow],
  ["ledger verify", async () => (await import("./ledger.ts")).ledgerVerify],
  ["ledger export", async () => (await import("./ledger.ts")).ledgerExport],
  ["schema", async () => (await import("./schema.ts")).schema],
]);
