/**
 * The Compose template of a release: JSON (which is YAML), each service's image pinned as
 * `NAME@sha256:…` to an image of the same release, and nothing in it that leaves the cage of a
 * container. The builder refuses a template with a problem; `verify` looks again, because it trusts no
 * builder. The list of what a service may say is closed: what is not here is refused.
 */
import {
  type ApplianceRules,
  applianceRuleProblems,
  applianceRulesSchema,
  SERVICE_NAME_PATTERN,
  sourcesOf,
} from "./appliance-rules.ts";
import type { Digest } from "./digest.ts";
import { type JsonSchema, schemaProblem } from "./schema.ts";
import {
  fileVariable,
  knownVariables,
  SECRETS_VARIABLE,
  SWITCH_VARIABLE,
  settingNames,
  variableUses,
} from "./template-variables.ts";

export type ComposeProblemCode =
  | "COMPOSE_MALFORMED"
  | "COMPOSE_NOT_PINNED"
  | "COMPOSE_FOREIGN_IMAGE"
  | "COMPOSE_NOT_ALLOWED";

export interface ComposeProblem {
  readonly code: ComposeProblemCode;
  readonly message: string;
}

/** What a template may refer to: the rest of its release. */
export interface ReleaseParts {
  readonly images: ReadonlyMap<string, Digest>;
  /** The names of the files that the release carries. */
  readonly files: readonly string[];
  /** The JSON Schema of the site's configuration, parsed. */
  readonly configSchema: unknown;
}

export interface ComposeTemplate {
  readonly "x-sealift": ApplianceRules;
  readonly services: Readonly<Record<string, { readonly image: string } & Readonly<Record<string, unknown>>>>;
  readonly networks?: Readonly<Record<string, unknown>>;
  readonly volumes?: Readonly<Record<string, unknown>>;
  readonly secrets?: Readonly<Record<string, unknown>>;
  readonly configs?: Readonly<Record<string, unknown>>;
}

const SERVICE_MEMBERS = [
  ...["image", "command", "entrypoint", "environment", "user", "working_dir", "hostname", "init", "labels"],
  ...["read_only", "cap_drop", "security_opt", "tmpfs", "volumes", "secrets", "configs", "ulimits", "shm_size"],
  ...["networks", "ports", "expose", "depends_on", "healthcheck", "restart", "stop_signal", "stop_grace_period"],
  ...["mem_limit", "mem_reservation", "pids_limit", "cpus", "logging"],
];
const PINNED = /^([a-z0-9-]+)@(sha256:[0-9a-f]{64})$/;
const resources = {
  type: "object",
  maxProperties: 256,
  propertyNames: { type: "string", pattern: SERVICE_NAME_PATTERN },
};

const templateSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["services", "x-sealift"],
  properties: {
    services: {
      type: "object",
      minProperties: 1,
      maxProperties: 256,
      propertyNames: { type: "string", pattern: SERVICE_NAME_PATTERN },
      additionalProperties: { type: "object", required: ["image"], properties: { image: { type: "string" } } },
    },
    networks: resources,
    volumes: resources,
    secrets: resources,
    configs: resources,
    "x-sealift": applianceRulesSchema,
  },
};

/** What a network, a volume, a secret or a configuration of the template may say. */
const RESOURCE_MEMBERS = {
  // `external`, `name` or `driver` could name the host's own network, or another project's volume.
  networks: ["internal", "labels"],
  volumes: ["labels"],
  secrets: ["file"],
  configs: ["content"],
} as const;
/** A secret is a file of the site's own secrets directory. */
const SECRET_PREFIX = `\${${SECRETS_VARIABLE}}/`;
const SECRET_FILE = /^[a-z0-9][a-z0-9._-]*(?:\/[a-z0-9][a-z0-9._-]*)*$/;
const LOG_DRIVERS: readonly unknown[] = ["local", "json-file", "none"];
/** Labels by which the installer and Compose tell whose a container is. */
const RESERVED_LABEL = /^(?:com\.docker\.|sealift\.)/;
const BIND_MEMBERS = ["type", "source", "target", "read_only"];

/** Every problem of `template` for a release with these parts; none means that it may be deployed. */
export function composeProblems(template: unknown, release: ReleaseParts): ComposeProblem[] {
  const shape = schemaProblem(templateSchema, template);
  if (shape !== undefined) return [{ code: "COMPOSE_MALFORMED", message: `compose template: ${shape}` }];
  const whole = template as ComposeTemplate;
  const binds = new Set(release.files.map((name) => `\${${fileVariable(name)}}`));
  return [
    ...Object.entries(whole.services).flatMap(([name, service]) => [
      ...imageProblems(name, service.image, release.images),
      ...serviceProblems(name, service, whole, binds),
    ]),
    ...resourceProblems(whole),
    ...variableProblems(whole, knownVariables(release.files, settingNames(release.configSchema))),
    ...ruleProblems(whole),
  ];
}

function ruleProblems({ "x-sealift": rules, services, configs = {}, secrets = {} }: ComposeTemplate): ComposeProblem[] {
  const secretFiles = Object.values(secrets).flatMap((secret) => secretFile(secret) ?? []);
  return applianceRuleProblems(rules, { services, configs, secretFiles }).map((problem) => ({
    code: "COMPOSE_NOT_ALLOWED",
    message: `x-sealift: ${problem}`,
  }));
}

/** The path below the secrets directory that an entry of the secrets section names. */
function secretFile(secret: unknown): string | undefined {
  const file = isRecord(secret) ? secret["file"] : undefined;
  if (typeof file !== "string" || !file.startsWith(SECRET_PREFIX)) return undefined;
  const path = file.slice(SECRET_PREFIX.length);
  return SECRET_FILE.test(path) ? path : undefined;
}

function resourceProblems(template: ComposeTemplate): ComposeProblem[] {
  return (Object.keys(RESOURCE_MEMBERS) as (keyof typeof RESOURCE_MEMBERS)[]).flatMap((kind) =>
    Object.entries(template[kind] ?? {}).flatMap(([name, resource]) => {
      const where = `${kind} ${JSON.stringify(name)}`;
      if (resource === null && kind !== "secrets") return [];
      if (!isRecord(resource)) return [notAllowed(where, JSON.stringify(resource))];
      const allowed: readonly string[] = RESOURCE_MEMBERS[kind];
      const foreign = Object.keys(resource).filter((member) => !allowed.includes(member));
      const { file } = resource;
      const isOutside = kind === "secrets" && secretFile(resource) === undefined;
      return [
        ...foreign.map((member) => notAllowed(where, member)),
        ...labelProblems(where, resource["labels"]),
        ...(isOutside ? [notAllowed(where, `file ${JSON.stringify(file)}, other than \${SEALIFT_SECRETS}/…,`)] : []),
      ];
    }),
  );
}

/** Only the installer's own variables: others would bring the environment of whoever starts Compose. */
function variableProblems(template: ComposeTemplate, known: readonly string[]): ComposeProblem[] {
  const { names, malformed } = variableUses(template);
  const doubled = known.filter((name, i) => known.indexOf(name) !== i);
  return [
    ...[...new Set(names)].filter((name) => !known.includes(name)).map((name) => `variable ${JSON.stringify(name)}`),
    ...malformed.map((text) => `variable ${JSON.stringify(text)}`),
    ...doubled.map((name) => `two meanings of variable ${JSON.stringify(name)}`),
  ].map((what) => notAllowed("template", what));
}

function imageProblems(service: string, image: string, images: ReadonlyMap<string, Digest>): ComposeProblem[] {
  const pinned = PINNED.exec(image);
  const where = `service ${JSON.stringify(service)}`;
  if (!pinned) {
    return [
      { code: "COMPOSE_NOT_PINNED", message: `${where}: got image ${JSON.stringify(image)}, want NAME@sha256:…` },
    ];
  }
  const [, name = "", digest] = pinned;
  if (images.get(name) === digest) return [];
  const message = `${where}: image ${JSON.stringify(image)} is not in the release`;
  return [{ code: "COMPOSE_FOREIGN_IMAGE", message }];
}

function serviceProblems(
  name: string,
  service: Readonly<Record<string, unknown>>,
  template: ComposeTemplate,
  fileBinds: ReadonlySet<string>,
): ComposeProblem[] {
  const where = `service ${JSON.stringify(name)}`;
  const { driver } = isRecord(service["logging"]) ? service["logging"] : { driver: "local" };
  const isFront = name === template["x-sealift"].front.service;
  const binds = isFront ? new Set([...fileBinds, `\${${SWITCH_VARIABLE}}`]) : fileBinds;
  return [
    ...Object.keys(service).filter((member) => !SERVICE_MEMBERS.includes(member)),
    ...list(service["security_opt"])
      .filter((option) => option !== "no-new-privileges:true")
      .map((option) => `security_opt ${JSON.stringify(option)}`),
    ...(LOG_DRIVERS.includes(driver) ? [] : [`logging driver ${JSON.stringify(driver)}`]),
    ...list(service["volumes"])
      .filter((volume) => !isNamedVolume(volume, template.volumes ?? {}) && !isReadOnlyBind(volume, binds))
      .map((volume) => `volume ${JSON.stringify(volume)}, neither a named one nor a carried file read-only,`),
    ...undeclared(service, template),
  ]
    .map((what) => notAllowed(where, what))
    .concat(labelProblems(where, service["labels"]));
}

/** Networks are a plain list: with an alias a service could take another's name. */
function undeclared(service: Readonly<Record<string, unknown>>, template: ComposeTemplate): string[] {
  const networks = service["networks"] ?? [];
  const used = (["secrets", "configs"] as const).flatMap((kind) =>
    sourcesOf(service[kind])
      .filter((source) => !Object.hasOwn(template[kind] ?? {}, source))
      .map((source) => `${kind} ${JSON.stringify(source)}, which the template does not declare,`),
  );
  const isListed =
    Array.isArray(networks) &&
    networks.every((network) => typeof network === "string" && Object.hasOwn(template.networks ?? {}, network));
  return isListed ? used : [...used, `networks ${JSON.stringify(networks)}, other than a list of the template's own,`];
}

function labelProblems(where: string, labels: unknown = {}): ComposeProblem[] {
  if (!isRecord(labels)) return [notAllowed(where, "labels that are not an object")];
  return Object.keys(labels)
    .filter((label) => RESERVED_LABEL.test(label))
    .map((label) => notAllowed(where, `label ${JSON.stringify(label)}`));
}

function isNamedVolume(volume: unknown, named: Readonly<Record<string, unknown>>): boolean {
  const type = isRecord(volume) ? volume["type"] : "volume";
  const source = isRecord(volume) ? volume["source"] : String(volume).split(":")[0];
  return type === "volume" && typeof source === "string" && Object.hasOwn(named, source);
}

function isReadOnlyBind(volume: unknown, sources: ReadonlySet<string>): boolean {
  if (!isRecord(volume)) return false;
  const { type, source, read_only: readOnly } = volume;
  const isClosed = Object.keys(volume).every((member) => BIND_MEMBERS.includes(member));
  return isClosed && type === "bind" && readOnly === true && typeof source === "string" && sources.has(source);
}

function notAllowed(where: string, what: string): ComposeProblem {
  return { code: "COMPOSE_NOT_ALLOWED", message: `${where}: ${what} is not allowed in a template` };
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined ? [] : [value];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
