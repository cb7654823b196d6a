/** What the steps of an install, upgrade, rollback or configuration change act on, and with what. */
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import type { ComposeProject } from "../../compose/engine/prove-containers.ts";
import { projectName } from "../../compose/render.ts";
import type { AllowedRelease } from "../../verify/allowed-release.ts";
import {
  type Deployment,
  type Deployments,
  deploymentPaths,
  deploymentSchema,
  deploymentsSchema,
} from "../site/deployment.ts";
import type { StatePaths } from "../site/state.ts";
import { type CertificateChange, certificateChangeSchema } from "./certificate-change.ts";
import { lifecycleError } from "./error.ts";
import type { Ground } from "./execute.ts";
import { type Rotation, rotationSchema } from "./rotation.ts";
import type { Parameters } from "./step.ts";

/** Told what happens; a terminal shows it. */
export interface StepReport {
  /** `back`: what the step did is being taken back. */
  begin(name: string, intent: string, direction: "forward" | "back"): void;
  detail(text: string): void;
  /** What a person should know when it is over, whether it ends well or not. */
  remark(text: string): void;
  end(name: string, outcome: "done" | "failed" | "undone", reason?: string): void;
}

export const SILENT: StepReport = { begin: () => {}, detail: () => {}, remark: () => {}, end: () => {} };

export interface DeployContext extends Ground {
  readonly siteId: string;
  /** Opened when it is first needed: to take back files no engine must run. */
  readonly engine: () => Promise<Engine>;
  /** What the verb has verified just now; undefined in recover, which stages nothing. */
  readonly source: AllowedRelease | undefined;
  readonly report: StepReport;
  /** Aborts when the operator wants to stop. Not heeded after the commit. */
  readonly signal: AbortSignal | undefined;
  /** For the one secret that a person must see. It is kept nowhere else. */
  readonly showOnce: (text: string) => void;
}

export const DEPLOY_ACTIONS = ["install", "upgrade", "rollback", "config", "tls", "rotate"] as const;
export type DeployAction = (typeof DEPLOY_ACTIONS)[number];

/** In the journal: everything by which recover makes the same steps again. Never a secret. */
export interface DeployParameters {
  readonly action: DeployAction;
  readonly before: Deployments;
  readonly to: Deployment;
  /** What site/deployment.json says after the commit. */
  readonly after: Deployments;
  /** Canonical JSON; settings, never secrets. */
  readonly config: string;
  /** Files below secrets/ that this operation makes. */
  readonly newSecrets: readonly string[];
  /** Another certificate for clients; absent if it stays. */
  readonly certificate?: CertificateChange;
  /** Other values of secrets; absent if they stay. */
  readonly rotation?: Rotation;
  /** The site had no volume before, so taking back an install may remove those that it made. */
  readonly hasOldVolumes: boolean;
  /** Which optional steps there are. */
  readonly parts: {
    readonly stage: boolean;
    readonly base: boolean;
    readonly backup: boolean;
    readonly rehearse: boolean;
    readonly migrate: boolean;
    readonly credentials: boolean;
  };
  /** Seconds that the new colour is watched before the commit. */
  readonly watchSeconds: number;
  /** Seconds that the old colour may take to end its requests. */
  readonly drainSeconds: number;
}

const boolean = { type: "boolean" };
const parts = ["stage", "base", "backup", "rehearse", "migrate", "credentials"];
const seconds = { type: "integer", minimum: 0, maximum: 86_400 };
const properties = {
  action: { enum: [...DEPLOY_ACTIONS] },
  before: deploymentsSchema,
  to: deploymentSchema,
  after: deploymentsSchema,
  config: { type: "string" },
  newSecrets: { type: "array", items: { type: "string" } },
  certificate: certificateChangeSchema,
  rotation: rotationSchema,
  hasOldVolumes: boolean,
  parts: {
    type: "object",
    additionalProperties: false,
    required: parts,
    properties: Object.fromEntries(parts.map((name) => [name, boolean])),
  },
  watchSeconds: seconds,
  drainSeconds: seconds,
};
const parametersSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties).filter((member) => member !== "certificate" && member !== "rotation"),
  properties,
};

/** @throws JOURNAL_DAMAGED */
export function parseDeployParameters(value: Parameters): DeployParameters {
  const problem = schemaProblem(parametersSchema, value);
  if (problem) throw lifecycleError("JOURNAL_DAMAGED", `the open operation's parameters: ${problem}`);
  return value as unknown as DeployParameters;
}

/** The Compose projects of a deployment, with the files that were rendered for it. */
export function baseProject(site: SiteNames, deployment: Deployment): ComposeProject {
  const { base, directory } = deploymentPaths(site.paths, deployment.id);
  return { name: projectName(site.siteId, "base"), file: base, directory };
}

export function colourProject(site: SiteNames, deployment: Deployment): ComposeProject {
  const { containers, directory } = deploymentPaths(site.paths, deployment.id);
  return { name: projectName(site.siteId, deployment.colour), file: containers, directory };
}

export interface SiteNames {
  readonly paths: StatePaths;
  readonly siteId: string;
}
