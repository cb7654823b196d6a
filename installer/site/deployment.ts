/**
 * What runs on the site, what ran before, and below which version it must never go again: one document,
 * replaced as a whole, so that there is no instant between two releases.
 */
import { join } from "node:path";
import type { Digest } from "../../bundles/model/digest.ts";
import { NAME_PATTERN, VERSION_PATTERN } from "../../bundles/model/release-manifest.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { Colour } from "../../compose/render.ts";
import type { Disk } from "./disk.ts";
import { siteError } from "./error.ts";
import { readStateDocument, type StatePaths, writeStateDocument } from "./state.ts";

export const MEND_HINT =
  "sealift recover writes site/deployment.json anew, as the ledger says; keep a copy as evidence";

/** One release with one configuration, as it was or is started. */
export interface Deployment {
  /** 32 hexadecimal digits, random: the name of its directory. */
  readonly id: string;
  readonly release: Digest;
  readonly appliance: string;
  readonly version: string;
  readonly colour: Colour;
  /** Of config.json, canonical JSON with every default filled in. */
  readonly config: Digest;
  /** Of the rendered Compose files, so that an edited one is found before it is used. */
  readonly base: Digest;
  readonly containers: Digest;
}

/** What the data that is kept here (volumes) was written for. */
export interface DataMark {
  readonly appliance: string;
  /** The newest release that ran on it. Its schema is never taken back. */
  readonly version: string;
  /** Which older releases that one lets work on it: a semver range, "" for none. */
  readonly rollbackTo: string;
}

export interface Deployments {
  readonly schemaVersion: 1;
  readonly current: Deployment | null;
  /** Where `rollback` returns to. */
  readonly previous: Deployment | null;
  /** Highest `securityFloor` of all releases that were ever committed here. */
  readonly securityFloor: string | null;
  /** Outlives an uninstall that leaves the data. */
  readonly data: DataMark | null;
  /** Of the engine that runs the site. */
  readonly engineId: string | null;
}

const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const properties = {
  id: { type: "string", pattern: "^[0-9a-f]{32}$" },
  release: digest,
  appliance: { type: "string", pattern: NAME_PATTERN },
  version: { type: "string", pattern: VERSION_PATTERN },
  colour: { enum: ["blue", "green"] },
  config: digest,
  base: digest,
  containers: digest,
};

export const deploymentSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
};

const orNull = (schema: object): object => ({ oneOf: [{ type: "null" }, schema] });

export const deploymentsSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "current", "previous", "securityFloor", "data", "engineId"],
  properties: {
    schemaVersion: { const: 1 },
    current: orNull(deploymentSchema),
    previous: orNull(deploymentSchema),
    securityFloor: orNull({ type: "string", pattern: VERSION_PATTERN }),
    data: orNull({
      type: "object",
      additionalProperties: false,
      required: ["appliance", "version", "rollbackTo"],
      properties: {
        appliance: properties.appliance,
        version: properties.version,
        rollbackTo: { type: "string", maxLength: 256 },
      },
    }),
    engineId: orNull({ type: "string", minLength: 1, maxLength: 256 }),
  },
};

export const NOTHING_DEPLOYED: Deployments = {
  schemaVersion: 1,
  current: null,
  previous: null,
  securityFloor: null,
  data: null,
  engineId: null,
};

/** @throws STATE_DAMAGED | STATE_TOO_NEW | STATE_UNREADABLE */
export function readDeployments(paths: StatePaths): Deployments {
  try {
    return (readStateDocument(paths.deployment, deploymentsSchema) as Deployments | undefined) ?? NOTHING_DEPLOYED;
  } catch (cause) {
    if (!(cause instanceof SealiftError) || cause.code !== "STATE_DAMAGED") throw cause;
    throw siteError("STATE_DAMAGED", cause.message, { cause, hints: [MEND_HINT] });
  }
}

/** @throws STATE_WRITE_FAILED | STATE_DISK_FULL */
export function writeDeployments(disk: Disk, paths: StatePaths, deployments: Deployments): void {
  writeStateDocument(disk, paths.deployment, deployments);
}

/** Where the files of a deployment lie. */
export interface DeploymentPaths {
  readonly directory: string;
  /** Rendered Compose files. */
  readonly base: string;
  readonly containers: string;
  readonly config: string;
  /** Of the verification that allowed it. */
  readonly verdict: string;
}

export function deploymentPaths({ directory: state }: StatePaths, id: string): DeploymentPaths {
  const directory = join(state, "deployments", id);
  return {
    directory,
    base: join(directory, "base.json"),
    containers: join(directory, "containers.json"),
    config: join(directory, "config.json"),
    verdict: join(directory, "verdict.json"),
  };
}

export function otherColour(colour: Colour): Colour {
  return colour === "blue" ? "green" : "blue";
}
