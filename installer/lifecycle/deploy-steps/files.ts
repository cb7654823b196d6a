/** Steps that change the site's directory only: the release, secrets, the certificate, the Compose files. */
import { join } from "node:path";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../../bundles/model/digest.ts";
import { deploymentPaths } from "../../site/deployment.ts";
import { makeDirectory, removeDurably, removeTree, writeWhole } from "../../site/disk.ts";
import { secretMakers } from "../../site/secret-makers.ts";
import { generateSecrets } from "../../site/secrets.ts";
import { removeStored, stageRelease } from "../../site/store.ts";
import { type CertificateChange, changeCertificate, restoreCertificate } from "../certificate-change.ts";
import { lifecycleError } from "../error.ts";
import type { NewStep } from "../reported-step.ts";
import { renderFor } from "../stored-release.ts";
import type { Deploying } from "./deploying.ts";

export function stage({ context, parameters }: Deploying): NewStep {
  const { paths, disk, source, report } = context;
  const { before, to } = parameters;
  const isInUse = [before.current, before.previous].some((one) => one?.release === to.release);
  return {
    name: "stage",
    intent: "copy the release into the site's store",
    do: async () => {
      if (source?.release.descriptor.digest !== to.release) throw new TypeError("no verified release to stage");
      await stageRelease(disk, paths.directory, source, (done, total) =>
        report.detail(`${Math.round(done / 1e6)} of ${Math.round(total / 1e6)} MB`),
      );
    },
    undo: async () => {
      if (!isInUse) removeStored(disk, paths.directory, to.release);
    },
  };
}

export function secrets(deploying: Deploying): NewStep {
  const { paths, disk } = deploying.context;
  const directory = join(paths.directory, "secrets");
  const { newSecrets } = deploying.parameters;
  return {
    name: "secrets",
    intent: newSecrets.length === 0 ? "look for missing secrets" : `make ${newSecrets.length} secrets`,
    do: () =>
      deploying.withNext(async ({ rules }) => {
        const makers = secretMakers(deploying.context, deploying.config);
        await generateSecrets(disk, directory, rules.secrets, makers);
      }),
    ...(newSecrets.length > 0 && {
      undo: async () => {
        for (const file of newSecrets) removeDurably(disk, join(directory, file));
      },
    }),
  };
}

export function certificate({ context, config }: Deploying, change: CertificateChange): NewStep {
  return {
    name: "certificate",
    intent: "replace the certificate for clients",
    do: () => changeCertificate(context, change, config),
    undo: async () => restoreCertificate(context, change),
  };
}

export function render(deploying: Deploying): NewStep {
  const { context, parameters } = deploying;
  const { to } = parameters;
  const { disk, paths, source } = context;
  const files = deploymentPaths(paths, to.id);
  return {
    name: "render",
    intent: "write the Compose files",
    do: () =>
      deploying.withNext(async (parts) => {
        const { base: baseFile, colour } = renderFor(context, parts, to.colour, deploying.config);
        requireSame("base", digestOf(baseFile.bytes), to.base);
        requireSame("containers", digestOf(colour.bytes), to.containers);
        makeDirectory(disk, files.directory);
        writeWhole(disk, files.base, baseFile.bytes);
        writeWhole(disk, files.containers, colour.bytes);
        writeWhole(disk, files.config, Buffer.from(parameters.config));
        if (source) writeWhole(disk, files.verdict, canonicalJson(source.verdict));
      }),
    undo: async () => removeTree(disk, files.directory),
  };
}

function requireSame(what: string, got: Digest, want: Digest): void {
  if (got === want) return;
  throw lifecycleError("DEPLOYMENT_DAMAGED", `${what} file: got ${got}, but ${want} was planned and authorized`);
}
