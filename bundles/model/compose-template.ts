/**
 * The Compose template of a release: JSON (which is YAML), each service's image pinned as
 * `NAME@sha256:…` to an image of the same release, and nothing in it that leaves the cage of a
 * container. The builder refuses a template with a problem; `verify` looks again, because it trusts no
 * builder. The list of what a service may say is closed: what is not here is refused.
 */
import type { Digest } from "./digest.ts";
import { type JsonSchema, schemaProblem } from "./schema.ts";

export type ComposeProblemCode =
  | "COMPOSE_MALFORMED"
  | "COMPOSE_NOT_PINNED"
  | "COMPOSE_FOREIGN_IMAGE"
  | "COMPOSE_NOT_ALLOWED";

export interface ComposeProblem {
  readonly code: ComposeProblemCode;
  readonly message: string;
}

export interface ComposeTemplate {
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
const object = { type: "object" };

const templateSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["services"],
  properties: {
    services: {
      type: "object",
      minProperties: 1,
      maxProperties: 256,
      propertyNames: { type: "string", pattern: "^[a-z0-9][a-z0-9_-]*$" },
      additionalProperties: { type: "object", required: ["image"], properties: { image: { type: "string" } } },
    },
    networks: object,
    volumes: object,
    secrets: object,
    configs: object,
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
const SECRET_FILE = /^\$\{SEALIFT_SECRETS\}(?:\/[a-z0-9][a-z0-9._-]*)+$/;
/** Compose's interpolation: `$$` is a dollar; any other variable would come from the environment. */
const VARIABLE = /\$(?:\$|\{?([A-Za-z_][A-Za-z0-9_]*)?)/g;
const LOG_DRIVERS: readonly unknown[] = ["local", "json-file", "none"];

/** Every problem of `template` for a release with these images; none means that it may be deployed. */
export function composeProblems(template: unknown, images: ReadonlyMap<string, Digest>): ComposeProblem[] {
  const shape = schemaProblem(templateSchema, template);
  if (shape !== undefined) return [{ code: "COMPOSE_MALFORMED", message: `compose template: ${shape}` }];
  const { services, volumes = {} } = template as ComposeTemplate;
  return [
    ...Object.entries(services).flatMap(([name, service]) => [
      ...imageProblems(name, service.image, images),
      ...serviceProblems(name, service, volumes),
    ]),
    ...resourceProblems(template as ComposeTemplate),
    ...variableProblems(template),
  ];
}

function resourceProblems(template: ComposeTemplate): ComposeProblem[] {
  return (Object.keys(RESOURCE_MEMBERS) as (keyof typeof RESOURCE_MEMBERS)[]).flatMap((kind) =>
    Object.entries(template[kind] ?? {}).flatMap(([name, resource]) => {
      const where = `${kind} ${JSON.stringify(name)}`;
      if (resource === null) return [];
      if (!isRecord(resource)) return [notAllowed(where, JSON.stringify(resource))];
      const allowed: readonly string[] = RESOURCE_MEMBERS[kind];
      const foreign = Object.keys(resource).filter((member) => !allowed.includes(member));
      const { file } = resource;
      const isOutside = kind === "secrets" && !(typeof file === "string" && SECRET_FILE.test(file));
      return [
        ...foreign.map((member) => notAllowed(where, member)),
        ...(isOutside ? [notAllowed(where, `file ${JSON.stringify(file)}, other than \${SEALIFT_SECRETS}/…,`)] : []),
      ];
    }),
  );
}

/** Only the installer's own variables: others would bring the environment of whoever starts Compose. */
function variableProblems(value: unknown): ComposeProblem[] {
  if (typeof value === "string") {
    return [...value.matchAll(VARIABLE)]
      .filter(([whole, name]) => whole !== "$$" && !name?.startsWith("SEALIFT_"))
      .map(([whole]) => notAllowed("template", `variable ${JSON.stringify(whole)}`));
  }
  if (Array.isArray(value)) return value.flatMap(variableProblems);
  return isRecord(value) ? Object.entries(value).flat().flatMap(variableProblems) : [];
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
  namedVolumes: Readonly<Record<string, unknown>>,
): ComposeProblem[] {
  const where = `service ${JSON.stringify(name)}`;
  const problems = Object.keys(service)
    .filter((member) => !SERVICE_MEMBERS.includes(member))
    .map((member) => notAllowed(where, member));
  for (const option of list(service["security_opt"])) {
    if (option !== "no-new-privileges:true") problems.push(notAllowed(where, `security_opt ${JSON.stringify(option)}`));
  }
  const { driver } = isRecord(service["logging"]) ? service["logging"] : { driver: "local" };
  if (!LOG_DRIVERS.includes(driver)) problems.push(notAllowed(where, `logging driver ${JSON.stringify(driver)}`));
  for (const volume of list(service["volumes"])) {
    const source = isRecord(volume) ? volume["source"] : String(volume).split(":")[0];
    const type = isRecord(volume) ? volume["type"] : "volume";
    if (type !== "volume" || typeof source !== "string" || !Object.hasOwn(namedVolumes, source)) {
      problems.push(notAllowed(where, `volume ${JSON.stringify(volume)}: only named volumes of this template`));
    }
  }
  return problems;
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
