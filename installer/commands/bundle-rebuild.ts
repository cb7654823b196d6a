import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { readApplianceDirectory } from "../../bundles/assemble/appliance-directory.ts";
import { assemble } from "../../bundles/assemble/assemble.ts";
import { assembleError } from "../../bundles/assemble/error.ts";
import { type BundleRelease, DOCUMENT_MAX_BYTES, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { checkApplianceLock } from "../../bundles/model/appliance.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import type { ReleaseManifest } from "../../bundles/model/release-manifest.ts";
import { signRebuild } from "../../bundles/sign/rebuild.ts";
import { hintedKey, type SigningKey } from "../../bundles/sign/signing-key.ts";
import { statementPath } from "../../verify/approval-files.ts";
import { cacheDirectory, sealiftVersion } from "../host/this-host.ts";
import { writeNew } from "../host/write-new.ts";
import { errorLines } from "../ui/terminal.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import { readSigningKey, SIGNING_KEY_DETAILS, SIGNING_KEY_OPTIONS } from "./signing-key-options.ts";

const NAME = "bundle rebuild";

export const bundleRebuild: Command = {
  name: NAME,
  summary: "build a bundle's release again from its locked inputs and compare the manifest digest",
  usage: "BUNDLE [--appliance FILE] [--out FILE] [--key K --builder-id URI]",
  details: [
    "--appliance FILE   the appliance file with its sources; compose/appliance.yaml of this checkout if absent",
    "--out FILE         keep the rebuilt, unsigned bundle",
    "The lock is the bundle's own. Nothing is taken from the cache of built layers.",
    ...SIGNING_KEY_DETAILS,
    "                   With a key the result is signed (SLSA provenance) into BUNDLE.rebuild-….json, where `verify` looks;",
    "                   a site's policy can demand such statements by rebuilders whom it names",
    "--builder-id URI   what you call the machine that built, in that statement",
    "Exit 0: the same digest, so the bundle holds what these sources make. Exit 3: another one.",
  ],
  options: {
    appliance: { type: "string" },
    out: { type: "string" },
    "builder-id": { type: "string" },
    ...SIGNING_KEY_OPTIONS,
  },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, "bundle rebuild", "BUNDLE");
    const { terminal } = invocation;
    const signer = await readRebuilder(invocation);
    const { layout, store } = openLayout(path);
    const scratch = await mkdtemp(join(tmpdir(), "sealift-rebuild-"));
    try {
      const want = readRelease(layout, readLayoutIndex(layout).release);
      const appliance =
        optionalOption(invocation, "appliance") ?? new URL("../../compose/appliance.yaml", import.meta.url).pathname;
      const directory = await readApplianceDirectory(appliance);
      const sameFile = canonicalJson(directory.appliance).equals(
        layout.read(want.manifest.applianceFile, DOCUMENT_MAX_BYTES),
      );
      const lock = checkApplianceLock(JSON.parse(layout.read(want.manifest.lock, DOCUMENT_MAX_BYTES).toString("utf8")));
      const progress = terminal.progress("rebuilding");
      const out = resolve(optionalOption(invocation, "out") ?? join(scratch, "rebuilt.tar"));
      const got = await assemble({
        directory,
        lock,
        version: want.manifest.version,
        platform: want.manifest.platform,
        out,
        cacheDir: cacheDirectory(),
        sealiftVersion: sealiftVersion(),
        ignoreBuiltLayers: true,
        onProgress: progress.update,
      });
      progress.done();
      const same = got.digest === want.descriptor.digest;
      const differences = same ? [] : differencesBetween(want.manifest, got.release, sameFile);
      const statement = same && signer ? await writeStatement(signer, path, want) : null;
      terminal.document({ same, want: want.descriptor.digest, got: got.digest, differences, statement });
      terminal.result(`bundle   ${want.descriptor.digest}`);
      terminal.result(`rebuilt  ${got.digest}`);
      if (!same) {
        // Not thrown: the result is a document already, and --json prints one only.
        const error = assembleError("REBUILD_DIFFERS", `rebuilt release differs in: ${differences.join(", ")}`, {
          hints: ["build from the sources and the Sealift version that made the bundle, then look for what is left"],
        });
        for (const line of errorLines(error)) terminal.note(line);
        return error.exit;
      }
      if (statement !== null)
        terminal.result(`signed into ${plain(statement)}; elsewhere: sealift bundle attach BUNDLE FILE`);
      terminal.result("The same: the bundle holds exactly what these sources and locked inputs make.");
      return 0;
    } finally {
      closeStore(store);
      await rm(scratch, { recursive: true, force: true });
    }
  },
};

interface Rebuilder {
  readonly key: SigningKey;
  readonly builderId: string;
}

/** Asked before the work of an hour. Undefined if nobody signs. @throws USAGE */
async function readRebuilder(invocation: Invocation): Promise<Rebuilder | undefined> {
  const given = Object.keys(SIGNING_KEY_OPTIONS).some((name) => optionalOption(invocation, name) !== undefined);
  if (!given) return undefined;
  const builderId = requiredOption(invocation, NAME, "builder-id");
  if (!URL.canParse(builderId) || plain(builderId) !== builderId) {
    throw usageError(NAME, `--builder-id: got ${JSON.stringify(builderId)}, want a URI`);
  }
  return { key: await readSigningKey(invocation, NAME), builderId };
}

/** Where it was written. */
async function writeStatement({ key, builderId }: Rebuilder, bundle: string, release: BundleRelease): Promise<string> {
  const { appliance, version, platform, applianceFile, lock } = release.manifest;
  const statement = signRebuild(key, {
    release: release.descriptor.digest,
    ...{ appliance, version, platform, applianceFile, lock, builderId },
    sealiftVersion: sealiftVersion(),
    finishedOn: new Date().toISOString(),
  });
  const out = statementPath(bundle, "rebuild", keyFingerprint(hintedKey(key)));
  await writeNew(out, statement);
  return out;
}

/** Names the members of the release document that are not equal, and for images which part. */
function differencesBetween(want: ReleaseManifest, got: ReleaseManifest, sameApplianceFile: boolean): string[] {
  const differs = (a: unknown, b: unknown): boolean => !canonicalJson({ value: a }).equals(canonicalJson({ value: b }));
  const members = (Object.keys(want) as (keyof ReleaseManifest)[]).filter(
    (key) => key !== "images" && differs(want[key], got[key]),
  );
  const images = want.images.flatMap((image) => {
    const other = got.images.find(({ name }) => name === image.name);
    if (!other) return [`image ${image.name} (missing)`];
    return (["digest", "sbom", "provenance"] as const)
      .filter((part) => image[part] !== other[part])
      .map((part) => `image ${image.name} (${part === "digest" ? "contents" : part})`);
  });
  return [
    ...(sameApplianceFile ? [] : ["the appliance file itself"]),
    ...members.filter((key) => key !== "applianceFile"),
    ...images,
  ];
}
