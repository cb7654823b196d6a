/**
 * A site on whose disk everything is as after an install that an operator authorized: trust, a stored release,
 * rendered files, secrets, the switch, journal and ledger. There is no engine, and nothing runs.
 */
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { ApplianceRules, SecretRule } from "../../bundles/model/appliance-rules.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { checkAuthorization, spendAuthorization } from "../../installer/lifecycle/authorization.ts";
import { execute, type Ground } from "../../installer/lifecycle/execute.ts";
import { writeSwitch } from "../../installer/lifecycle/front.ts";
import type { OperationKind } from "../../installer/lifecycle/step.ts";
import { renderFor, withStoredRelease } from "../../installer/lifecycle/stored-release.ts";
import { configBytes } from "../../installer/site/config.ts";
import {
  type Deployments,
  deploymentPaths,
  NOTHING_DEPLOYED,
  readDeployments,
  writeDeployments,
} from "../../installer/site/deployment.ts";
import { hostDisk, makeDirectory, writeWhole } from "../../installer/site/disk.ts";
import { secretMakers } from "../../installer/site/secret-makers.ts";
import { generateSecrets, secretFiles } from "../../installer/site/secrets.ts";
import { stageRelease } from "../../installer/site/store.ts";
import { openAllowed } from "./allowed-bundle.ts";
import { importTrust } from "./enrolled-site.ts";
import { scratch } from "./scratch.ts";
import { signedBundle, writeSignedBundle } from "./signed-bundle.ts";
import { smallRelease, smallRules } from "./small-bundle.ts";
import { sshSign } from "./ssh-signer.ts";
import { makeTestSite, request, type TestSite, upgradePlan } from "./test-site.ts";

/** One of each kind. */
export const INSTALLED_SECRETS: readonly SecretRule[] = [
  { kind: "password", files: { "gateway/password": 10001, "database/password": 10070 } },
  { kind: "key", files: { "gateway/key": 10001 } },
  { kind: "ed25519", files: { "audit/checkpoint-key": 10020 }, publicFiles: { "audit/checkpoint-key.pub": 10020 } },
  { kind: "identity", service: "gateway", directory: "gateway/identity", uid: 10001 },
  { kind: "identity", service: "database", directory: "database/identity", uid: 10070, fixed: true },
  { kind: "server-certificate", directory: "gateway/tls", uid: 10001 },
];

const RULES: ApplianceRules = {
  ...smallRules("gateway"),
  base: ["front", "audit"],
  audit: { service: "audit", port: 8443 },
  secrets: INSTALLED_SECRETS,
};

/** The names below secrets/ of all that they make. */
export const INSTALLED_SECRET_FILES = INSTALLED_SECRETS.flatMap((rule) => Object.keys(secretFiles(rule)));

const bundle = signedBundle({
  small: smallRelease({
    compose: (references) => {
      const [gateway = "", audit = ""] = ["gateway", "audit"].map((name) => references.get(name) ?? "");
      const names = INSTALLED_SECRET_FILES.map((file) => [file.replaceAll(/[/.]/g, "-"), file] as const);
      return {
        services: {
          front: { image: gateway, ports: ["127.0.0.1:18443:8080"] },
          gateway: { image: gateway, secrets: names.map(([source]) => ({ source })) },
          audit: { image: audit },
          database: { image: audit },
        },
        secrets: Object.fromEntries(names.map(([name, file]) => [name, { file: `\${SEALIFT_SECRETS}/${file}` }])),
        "x-sealift": RULES,
      };
    },
  }),
});

export interface InstalledSite extends TestSite {
  readonly deployments: Deployments;
  /** Absolute, of a name within the state directory. */
  readonly path: (name: string) => string;
}

/** Removed when the test ends. */
export async function installedSite(t: Pick<TestContext, "after">): Promise<InstalledSite> {
  const parent = await scratch(t);
  const test = makeTestSite(parent);
  await importTrust(test.open(), bundle.trustFiles, test.alice);
  const path = join(parent, "bundle.tar");
  await writeSignedBundle(path, bundle);
  const { allowed } = await openAllowed(t, path, bundle.trustFiles);
  await stageRelease(hostDisk, test.directory, allowed);
  const deployments = await install(test, allowed.release.descriptor.digest, allowed.release.manifest.version);
  return { ...test, deployments, path: (name) => join(test.directory, name) };
}

async function install(test: TestSite, release: Digest, version: string): Promise<Deployments> {
  const site = test.open();
  const id = "0123456789abcdef0123456789abcdef";
  const files = deploymentPaths(site.paths, id);
  const config = {};
  await generateSecrets(hostDisk, join(test.directory, "secrets"), INSTALLED_SECRETS, secretMakers(site, config));
  const rendered = await withStoredRelease(site.paths, release, async (parts) =>
    renderFor(site, parts, "blue", config),
  );
  makeDirectory(hostDisk, files.directory);
  writeWhole(hostDisk, files.base, rendered.base.bytes);
  writeWhole(hostDisk, files.containers, rendered.colour.bytes);
  writeWhole(hostDisk, files.config, configBytes(config));
  writeSwitch(hostDisk, site.paths, "blue");
  const current = {
    id,
    release,
    appliance: "demo",
    version,
    colour: "blue",
    config: digestOf(configBytes(config)),
    base: digestOf(rendered.base.bytes),
    containers: digestOf(rendered.colour.bytes),
  } as const;
  const data = { appliance: "demo", version, rollbackTo: "" };
  const deployments = { ...NOTHING_DEPLOYED, current, securityFloor: version, data };
  const subject = upgradePlan({ action: "install", from: null, to: release });
  const bytes = request(site, subject);
  const authorization = await checkAuthorization(site, subject, bytes, [
    { name: "alice", bytes: sshSign(test.alice, bytes) },
  ]);
  await execute(site, installing(deployments), site, {}, spendAuthorization(site, authorization));
  return deployments;
}

function installing(deployments: Deployments): OperationKind<Ground> {
  return {
    name: "install",
    facts: () => ({ deployments }),
    steps: ({ paths, disk }) => [
      {
        name: "commit",
        intent: "record what runs",
        isCommit: true,
        do: async () => writeDeployments(disk, paths, deployments),
        undo: async () => writeDeployments(disk, paths, NOTHING_DEPLOYED),
        probe: async () => (readDeployments(paths).current ? "done" : "not-done"),
      },
    ],
  };
}

/** Changes a file that only its owner may write. */
export function overwrite(path: string, bytes: string | Buffer): void {
  chmodSync(path, 0o600);
  writeFileSync(path, bytes);
}
