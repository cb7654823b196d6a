import assert from "node:assert/strict";
import test from "node:test";
import type { BundleRelease } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import type { ComposeTemplate } from "../../bundles/model/compose-template.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { ReleaseManifest } from "../../bundles/model/release-manifest.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { parseDeployParameters } from "../../installer/lifecycle/deploy-context.ts";
import {
  type DeployPlan,
  type PlanFacts,
  planConfig,
  planInstall,
  planRollback,
  planRotate,
  planUpgrade,
} from "../../installer/lifecycle/deploy-plan.ts";
import type { ReleaseParts } from "../../installer/lifecycle/stored-release.ts";
import { type Config, completeConfig } from "../../installer/site/config.ts";
import { type Deployments, NOTHING_DEPLOYED } from "../../installer/site/deployment.ts";
import { statePaths } from "../../installer/site/state.ts";

const SCHEMA: JsonSchema = {
  type: "object",
  additionalProperties: false,
  properties: {
    clientAddress: { type: "string", default: "127.0.0.1" },
    clientPort: { type: "integer", minimum: 1, maximum: 65535, default: 8443 },
  },
};

interface ReleaseOptions extends Partial<ReleaseManifest> {
  readonly hasMigration?: boolean;
  readonly frontOf?: string;
  readonly schema?: JsonSchema;
  readonly drainSeconds?: number;
}

function release(version: string, options: ReleaseOptions = {}): ReleaseParts {
  const { hasMigration = true, frontOf = "all", schema = SCHEMA, drainSeconds = 60, ...members } = options;
  const image = (name: string, of: string): string => `${name}@${digestOf(`${name} ${of}`)}`;
  const rules: ApplianceRules = {
    base: ["front", "postgres"],
    tasks: hasMigration ? { migrate: "migrate", credentials: "credentials" } : {},
    front: { service: "front", target: "gateway" },
    ...(hasMigration && { database: { service: "postgres", names: ["gateway"] } }),
    canary: { service: "gateway", port: 8081, path: "/canary", withinMs: 3000 },
    drainSeconds,
    secrets: [],
  };
  const template: ComposeTemplate = {
    "x-sealift": rules,
    services: {
      front: { image: image("front", frontOf), ports: ["${SEALIFT_CLIENT_ADDRESS}:${SEALIFT_CLIENT_PORT}:8080"] },
      postgres: { image: image("postgres", "all") },
      gateway: { image: image("gateway", version), environment: { RELEASE: "${SEALIFT_RELEASE}" } },
      ...(hasMigration && {
        migrate: { image: image("gateway", version) },
        credentials: { image: image("gateway", version) },
      }),
    },
  };
  const digest = (name: string): Digest => digestOf(`${name} of ${version}`);
  const manifest: ReleaseManifest = {
    schemaVersion: 1,
    appliance: "sealift-gateway",
    channel: "stable",
    version,
    created: "2026-01-01T00:00:00Z",
    platform: "linux/amd64",
    upgradeFrom: ">=1.0.0",
    securityFloor: "1.0.0",
    rollbackTo: ">=1.0.0",
    requires: { sealift: "0.1.0", trust: 1 },
    images: [
      { name: "front", of: frontOf },
      { name: "gateway", of: version },
      { name: "postgres", of: "all" },
    ].map(({ name, of }) => ({
      name,
      digest: digestOf(`${name} ${of}`),
      platform: "linux/amd64",
      sbom: digest("sbom"),
      provenance: digest("provenance"),
    })),
    files: [],
    compose: digest("compose"),
    configSchema: digest("schema"),
    lock: digest("lock"),
    applianceFile: digest("appliance"),
    ...members,
  };
  const descriptor = { mediaType: "application/vnd.oci.image.index.v1+json", digest: digest("release"), size: 1 };
  const bundled = { descriptor, manifest, files: new Map(), images: new Map() } as unknown as BundleRelease;
  // A plan is made of documents; nothing reads the layout.
  return { layout: {} as Layout, release: bundled, template, rules, configSchema: schema };
}

const EMPTY: Deployments = NOTHING_DEPLOYED;

function facts(deployments: Deployments, current?: ReleaseParts, changed: Partial<PlanFacts> = {}): PlanFacts {
  return {
    site: { paths: statePaths("/site"), siteId: "0123456789abcdef0123456789abcdef" },
    deployments,
    policyDigest: digestOf("policy"),
    trustVersion: 1,
    missingSecrets: [],
    volumes: [],
    engineId: "the engine",
    sealiftVersion: "0.1.0",
    hostPlatform: "linux/amd64",
    disk: { engineBytes: 306_800_001, storeBytes: 91_000_000 },
    current,
    ...changed,
  };
}

/** A site that runs `parts`, got there by the planner itself. */
function installed(parts: ReleaseParts, config: Config = {}): PlanFacts {
  return facts(planInstall(facts(EMPTY), parts, config).parameters.after, parts);
}

/** The site after `plan`. */
function after({ parameters }: DeployPlan, parts: ReleaseParts): PlanFacts {
  return facts(parameters.after, parts);
}

function code(expected: string, message: RegExp = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof SealiftError, String(error));
    assert.equal(error.code, expected, error.message);
    assert.match(error.message, message);
    return true;
  };
}

const defaults = completeConfig(SCHEMA, {});

test("an install begins in blue, with all that a first start needs", () => {
  const { subject, parameters } = planInstall(
    facts(EMPTY, undefined, { missingSecrets: ["gateway/key"] }),
    release("1.0.0"),
    {},
  );
  const { to, after: then, parts } = parameters;
  assert.equal(to.colour, "blue");
  assert.deepEqual(then, {
    schemaVersion: 1,
    current: to,
    previous: null,
    securityFloor: "1.0.0",
    data: { appliance: "sealift-gateway", version: "1.0.0", rollbackTo: ">=1.0.0" },
    engineId: "the engine",
  });
  assert.deepEqual(parts, {
    stage: true,
    base: true,
    backup: false,
    rehearse: false,
    migrate: true,
    credentials: true,
  });
  assert.equal(parameters.config, '{"clientAddress":"127.0.0.1","clientPort":8443}');
  assert.equal(subject.from, null);
  assert.ok(subject.details.includes("new secrets: gateway/key"));
  assert.ok(subject.details.includes("way back: sealift uninstall"));
});

test("volumes that are there before an install are not its to remove", () => {
  const volumes = ["sealift-01234567-base_postgres"];
  const data = { appliance: "sealift-gateway", version: "1.0.0", rollbackTo: "" };
  const kept = planInstall(facts({ ...EMPTY, data }, undefined, { volumes }), release("1.0.0"), {});
  assert.equal(kept.parameters.hasOldVolumes, true);
  assert.ok(kept.subject.details.includes("data: kept from 1.0.0, and used again"));
  assert.equal(planInstall(facts(EMPTY), release("1.0.0"), {}).parameters.hasOldVolumes, false);
});

test("on data that an uninstall left runs only what could have run on it without one", () => {
  const volumes = ["sealift-01234567-base_postgres"];
  const on = (data: Deployments["data"], next: ReleaseParts): DeployPlan =>
    planInstall(facts({ ...EMPTY, data }, undefined, { volumes }), next, {});
  const data = { appliance: "sealift-gateway", version: "1.2.0", rollbackTo: ">=1.1.0" };
  assert.deepEqual(on(data, release("1.2.0", { rollbackTo: "" })).parameters.after.data, { ...data, rollbackTo: "" });
  const older = on(data, release("1.1.0"));
  assert.deepEqual(older.parameters.after.data, data, "what 1.2.0 added to the schema stays");
  assert.equal(on(data, release("1.3.0")).parameters.after.data?.version, "1.3.0");
  assert.throws(() => on(data, release("1.0.0")), code("ROLLBACK_NOT_ALLOWED", /data kept here is of 1\.2\.0/));
  assert.throws(
    () => on({ ...data, rollbackTo: "" }, release("1.1.0")),
    code("ROLLBACK_NOT_ALLOWED", /data kept here is of 1\.2\.0/),
  );
  const later = release("2.0.0", { upgradeFrom: ">=1.5.0" });
  assert.throws(() => on(data, later), code("UPGRADE_NOT_ALLOWED", /data kept here is of 1\.2\.0/));
  const other = { ...data, appliance: "another" };
  assert.throws(() => on(other, release("1.2.0")), code("RELEASE_OTHER_APPLIANCE", /data kept here is of another/));
  assert.throws(() => on(null, release("1.2.0")), code("INSTALL_DATA_UNKNOWN", /sealift-01234567-base_postgres/));
  const gone = planInstall(facts({ ...EMPTY, data }), release("1.0.0"), {});
  assert.equal(gone.parameters.after.data?.version, "1.0.0", "without volumes there is no data");
});

test("a rollback does not make the data older", () => {
  const [first, next] = [release("1.0.0"), release("1.1.0", { rollbackTo: "1.0.0" })];
  const upgraded = after(planUpgrade(installed(first), next, defaults), next);
  const { parameters } = planRollback(upgraded, first, defaults);
  assert.deepEqual(parameters.after.data, { appliance: "sealift-gateway", version: "1.1.0", rollbackTo: "1.0.0" });
});

test("an upgrade goes to the other colour and remembers where it came from", () => {
  const [first, next] = [release("1.0.0", { drainSeconds: 30 }), release("1.1.0")];
  const site = installed(first);
  const { parameters, subject } = planUpgrade(site, next, defaults);
  assert.equal(parameters.to.colour, "green");
  assert.equal(parameters.after.previous?.version, "1.0.0");
  assert.equal(parameters.drainSeconds, 30, "the release that goes says how long its requests may take");
  assert.deepEqual(parameters.parts, {
    stage: true,
    base: false,
    backup: true,
    rehearse: true,
    migrate: true,
    credentials: false,
  });
  assert.ok(subject.details.some((line) => line.startsWith("predicted pause: none")));
  assert.ok(subject.details.includes("way back: sealift rollback returns to 1.0.0, without a medium"));
});

test("each plan says what it takes on the disks", () => {
  const disk = ({ subject }: DeployPlan): string[] => subject.details.filter((line) => line.startsWith("disk: "));
  const [first, next] = [release("1.0.0"), release("1.1.0")];
  const release307 = "disk: 307 MB for images in the engine, 91 MB in the site's store";
  assert.deepEqual(disk(planInstall(facts(EMPTY), first, {})), [release307]);
  const upgrade = planUpgrade(installed(first), next, defaults);
  assert.deepEqual(disk(upgrade), [
    `${release307}; and the databases twice: their backup, and a copy until the rehearsal is over`,
  ]);
  const back = planRollback(after(upgrade, next), first, defaults);
  assert.match(disk(back).join(), /^disk: nothing more;/);
});

test("the same site and the same wish give the same plan to sign", () => {
  const site = installed(release("1.0.0"));
  const [one, two] = [0, 1].map(() => planUpgrade(site, release("1.1.0"), defaults));
  assert.deepEqual(one?.subject, two?.subject);
  assert.notEqual(one?.parameters.to.id, two?.parameters.to.id);
});

test("what the upgrade changes in the software is in the plan that is signed, right after the images", () => {
  const image = { name: "gateway", presence: "both", unchanged: 1, rows: [] } as const;
  const software = { against: "1.0.0", images: [image], alarms: 0, isScanned: false, records: "" };
  const current = installed(release("1.0.0"));
  const { details } = planUpgrade({ ...current, software }, release("1.1.0"), {}).subject;
  assert.match(details[details.indexOf("software: the same packages in every image") - 1] ?? "", /^image postgres: /);
  const without = planUpgrade(current, release("1.1.0"), {}).subject.details;
  assert.equal(without.filter((line) => line.includes("software")).length, 0);
});

test("a base that changes is replaced, and the plan says that clients notice", () => {
  const { parameters, subject } = planUpgrade(
    installed(release("1.0.0")),
    release("1.1.0", { frontOf: "new" }),
    defaults,
  );
  assert.equal(parameters.parts.base, true);
  assert.ok(subject.details.some((line) => /predicted pause 3 s; connections of clients may be cut/.test(line)));
});

test("without a database nothing is backed up, rehearsed or migrated", () => {
  const bare = { hasMigration: false };
  const { parameters } = planUpgrade(installed(release("1.0.0", bare)), release("1.1.0", bare), defaults);
  assert.deepEqual(parameters.parts, {
    stage: true,
    base: false,
    backup: false,
    rehearse: false,
    migrate: false,
    credentials: false,
  });
});

test("a rollback neither stages nor migrates, and the security floor stays", () => {
  const [first, next] = [release("1.0.0"), release("1.1.0", { securityFloor: "1.0.0" })];
  const upgraded = after(planUpgrade(installed(first), next, defaults), next);
  const { parameters } = planRollback(upgraded, first, defaults);
  assert.equal(parameters.to.colour, "blue");
  assert.equal(parameters.after.securityFloor, "1.0.0");
  assert.deepEqual(parameters.parts, {
    stage: false,
    base: false,
    backup: false,
    rehearse: false,
    migrate: false,
    credentials: false,
  });
});

test("a change of the configuration leaves the way back open", () => {
  const [first, next] = [release("1.0.0"), release("1.1.0")];
  const upgraded = after(planUpgrade(installed(first), next, defaults), next);
  const { parameters } = planConfig(upgraded, next, { clientPort: 9443 });
  assert.equal(parameters.after.previous?.version, "1.0.0");
  assert.equal(parameters.parts.base, true);
});

/** The same release, whose gateway and Postgres share a password that may be replaced. */
function withPassword(of: ReleaseParts): ReleaseParts {
  const files = { "gateway/password": 10_001, "postgres/password": 10_070 };
  const rules: ApplianceRules = { ...of.rules, secrets: [{ kind: "password", rotates: true, files }] };
  const { gateway, postgres, ...others } = of.template.services;
  if (!gateway || !postgres) throw new TypeError("no such services");
  const services = {
    ...others,
    gateway: { ...gateway, secrets: ["own"] },
    postgres: { ...postgres, secrets: ["its"] },
  };
  const at = (path: string): object => ({ file: `\${SEALIFT_SECRETS}/${path}` });
  const secrets = { own: at("gateway/password"), its: at("postgres/password") };
  return { ...of, rules, template: { ...of.template, "x-sealift": rules, services, secrets } };
}

test("a rotation is the same release in the other colour, leaves the way back open, and says who is started anew", () => {
  const [first, next] = [release("1.0.0"), withPassword(release("1.1.0"))];
  const upgraded = after(planUpgrade(installed(first), next, defaults), next);
  const { parameters, subject } = planRotate(upgraded, next, defaults, "secrets");
  assert.equal(parameters.to.release, parameters.before.current?.release);
  assert.notEqual(parameters.to.colour, parameters.before.current?.colour);
  assert.equal(parameters.after.previous?.version, "1.0.0");
  const { base, stage, migrate, backup } = parameters.parts;
  assert.deepEqual([base, stage, migrate, backup], [false, false, false, false]);
  assert.deepEqual(parameters.rotation?.after, ["postgres"]);
  assert.equal(subject.action, "rotate");
  const details = subject.details.join("\n");
  assert.match(details, /another value for gateway\/password, postgres\/password/);
  assert.match(details, /predicted pause: at most 3 s each; started anew: postgres/);
  assert.deepEqual(parseDeployParameters({ ...parameters }), parameters, "what recover reads in the journal");
  assert.throws(() => planRotate(facts(EMPTY), next, defaults, "secrets"), code("SITE_NOT_INSTALLED"));
  assert.throws(() => planRotate(upgraded, next, defaults, "certificates"), code("ROTATION_NOT_HERE"));
});

test("nothing is installed twice, nor moved where nothing is", () => {
  const first = release("1.0.0");
  assert.throws(
    () => planInstall(installed(first), first, {}),
    code("INSTALL_EXISTS", /sealift-gateway 1\.0\.0 is installed/),
  );
  assert.throws(() => planUpgrade(facts(EMPTY), first, {}), code("SITE_NOT_INSTALLED"));
  assert.throws(() => planRollback(facts(EMPTY), first, {}), code("SITE_NOT_INSTALLED"));
  assert.throws(() => planConfig(facts(EMPTY), first, {}), code("SITE_NOT_INSTALLED"));
});

test("a release for another platform is refused by install, upgrade and rollback", () => {
  const [first, other] = [release("1.0.0"), release("1.1.0", { platform: "linux/arm64" })];
  const refusal = code("RELEASE_OTHER_PLATFORM", /is for linux\/arm64, this host is linux\/amd64/);
  assert.throws(() => planInstall(facts(EMPTY), other, {}), refusal);
  assert.throws(() => planUpgrade(installed(first), other, {}), refusal);
  assert.throws(() => planRollback(installed(first), other, {}), refusal);
});

test("a release that needs a newer Sealift is refused, also for the sake of a pre-release", () => {
  const needs = (sealift: string): ReleaseParts => release("1.0.0", { requires: { sealift, trust: 1 } });
  for (const [has, wants] of [
    ["0.1.0", "0.1.1"],
    ["0.1.0", "1.0.0"],
    ["0.2.0-rc.1", "0.2.0"],
  ] as const) {
    const site = facts(EMPTY, undefined, { sealiftVersion: has });
    assert.throws(() => planInstall(site, needs(wants), {}), code("RELEASE_NEEDS_NEWER_SEALIFT", /needs Sealift/));
  }
  planInstall(facts(EMPTY, undefined, { sealiftVersion: "0.2.0" }), needs("0.2.0"), {});
});

test("below the floor that a release left nothing runs again, not even after an uninstall", () => {
  const [first, next] = [release("1.0.0"), release("1.1.0", { securityFloor: "1.1.0" })];
  const { parameters, subject } = planUpgrade(installed(first), next, defaults);
  assert.ok(subject.details.includes("way back: NONE. 1.1.0 does not let a site return to 1.0.0"));
  assert.ok(subject.details.some((line) => line.startsWith("security floor: 1.0.0 -> 1.1.0;")));
  const refusal = code("RELEASE_BELOW_FLOOR", /release 1\.0\.0 is below this site's security floor 1\.1\.0/);
  assert.throws(() => planRollback(facts(parameters.after, next), first, defaults), refusal);
  const uninstalled = facts({ ...parameters.after, current: null, previous: null });
  assert.throws(() => planInstall(uninstalled, first, {}), refusal);
  planInstall(uninstalled, next, {});
});

test("an upgrade goes to a newer version, and only from where the release takes it", () => {
  const site = installed(release("1.1.0"));
  for (const version of ["1.1.0", "1.0.0", "1.1.0-rc.1"]) {
    assert.throws(
      () => planUpgrade(site, release(version), defaults),
      code("UPGRADE_NOT_NEWER", /1\.1\.0 is installed/),
    );
  }
  const windows: readonly (readonly [string, boolean])[] = [
    [">=1.1.0", true],
    ["^1.1.0", true],
    [">=1.2.0", false],
    ["<1.1.0", false],
    ["", false],
    ["nonsense", false],
  ];
  for (const [upgradeFrom, isAllowed] of windows) {
    const plan = (): DeployPlan => planUpgrade(site, release("2.0.0", { upgradeFrom }), defaults);
    if (isAllowed) plan();
    else assert.throws(plan, code("UPGRADE_NOT_ALLOWED", /but 1\.1\.0 is installed/));
  }
});

test("a rollback goes to an older version, and only where the release that runs lets it", () => {
  const first = release("1.0.0");
  const at = (rollbackTo: string): PlanFacts => {
    const next = release("1.1.0", { rollbackTo });
    return after(planUpgrade(installed(first), next, defaults), next);
  };
  planRollback(at(">=1.0.0"), first, defaults);
  for (const rollbackTo of ["", ">=1.0.1", "nonsense"]) {
    assert.throws(() => planRollback(at(rollbackTo), first, defaults), code("ROLLBACK_NOT_ALLOWED", /not to 1\.0\.0/));
    const next = release("1.1.0", { rollbackTo });
    const { subject } = planUpgrade(installed(first), next, defaults);
    assert.ok(subject.details.includes("way back: NONE. 1.1.0 does not let a site return to 1.0.0"));
  }
  assert.throws(
    () => planRollback(at(">=1.0.0"), release("1.2.0"), defaults),
    code("ROLLBACK_NOT_POSSIBLE", /not older/),
  );
});

test("a site stays with its appliance", () => {
  const other = { appliance: "other" };
  const site = installed(release("1.1.0"));
  const refusal = code("RELEASE_OTHER_APPLIANCE", /got other, but this site runs sealift-gateway/);
  assert.throws(() => planUpgrade(site, release("1.2.0", other), defaults), refusal);
  assert.throws(() => planRollback(site, release("1.0.0", other), defaults), refusal);
});

test("a configuration that the schema refuses is named by its member, and its value is not repeated", () => {
  const secret = "hunter2 typed into the wrong place";
  const bad: readonly (readonly [Config, RegExp])[] = [
    [{ clientPort: secret }, /\/clientPort: must be integer/],
    [{ clientPort: 70_000 }, /\/clientPort: must be <= 65535/],
    [{ clientPorts: secret }, /must NOT have additional properties "clientPorts"/],
  ];
  const site = installed(release("1.0.0"));
  for (const [config, message] of bad) {
    for (const plan of [
      () => planInstall(facts(EMPTY), release("1.0.0"), config),
      () => planUpgrade(site, release("1.1.0"), config),
      () => planConfig(site, release("1.0.0"), config),
    ]) {
      assert.throws(plan, (error: unknown) => {
        assert.ok(!String(error).includes(secret));
        return code("CONFIG_MALFORMED", message)(error);
      });
    }
  }
});

test("an upgrade whose schema no longer takes the site's configuration says so before anything happens", () => {
  const schema = { type: "object", additionalProperties: false, properties: { port: { type: "integer", default: 1 } } };
  const plan = (): DeployPlan => planUpgrade(installed(release("1.0.0")), release("1.1.0", { schema }), defaults);
  assert.throws(plan, code("CONFIG_MALFORMED", /additional properties "clientAddress"/));
});

test("the configuration that the site has is no change", () => {
  const site = installed(release("1.0.0"), { clientPort: 9443 });
  assert.throws(() => planConfig(site, release("1.0.0"), { clientPort: 9443 }), code("CONFIG_UNCHANGED"));
  planConfig(site, release("1.0.0"), {});
});
