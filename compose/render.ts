/**
 * From a release's Compose template to the files that a site gives to Compose: one project for the base,
 * one for each colour, and private ones for a rehearsal. Pure: no disk, no clock, no environment; the same
 * input gives the same bytes, and a base that no release changed has the same bytes in the next one, so
 * that `up` leaves it alone.
 *
 * The template must have passed `composeProblems`, and `config` its schema: neither is checked again.
 */
import {
  type ApplianceRules,
  dependencies,
  partOf,
  type ServicePart,
  sourcesOf,
} from "../bundles/model/appliance-rules.ts";
import { canonicalJson } from "../bundles/model/canonical-json.ts";
import type { ComposeTemplate } from "../bundles/model/compose-template.ts";
import type { Digest } from "../bundles/model/digest.ts";
import {
  COLOUR_VARIABLE,
  fileVariable,
  RELEASE_VARIABLE,
  SECRETS_VARIABLE,
  SWITCH_VARIABLE,
  settingVariable,
  substituteVariables,
} from "../bundles/model/template-variables.ts";
import { composeError } from "./error.ts";
import { imageReference } from "./image-reference.ts";

export type Colour = "blue" | "green";
export type ProjectPart = "base" | Colour | "rehearsal" | "rehearsal-next";

export interface RenderInput {
  readonly template: ComposeTemplate;
  readonly appliance: string;
  /** The release's version. */
  readonly version: string;
  /** The release's digest. */
  readonly release: Digest;
  /** 32 hexadecimal digits. */
  readonly siteId: string;
  readonly colour: Colour;
  /** Absolute paths of this host. */
  readonly secretsDirectory: string;
  readonly switchDirectory: string;
  /** Carried file → absolute path. */
  readonly files: Readonly<Record<string, string>>;
  /** Settings of the site, validated, with defaults applied. What is no string is written as JSON. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** `bytes` are canonical JSON (which is YAML) without variables, each image by digest. */
export interface RenderedProject {
  readonly name: string;
  readonly bytes: Buffer;
}

const PROJECT_ID_DIGITS = 8;

type Members = Readonly<Record<string, unknown>>;

/** `sealift-<first 8 digits of siteId>-<part>`. */
export function projectName(siteId: string, part: ProjectPart): string {
  return `sealift-${siteId.slice(0, PROJECT_ID_DIGITS)}-${part}`;
}

/**
 * The two projects of a deployment. What a base service uses belongs to the base, and the colour's file
 * names it as external: networks, where a colour's service is also called `<service>-<colour>`, and
 * volumes. @throws COMPOSE_VARIABLE_UNSET
 */
export function renderSite(input: RenderInput): { readonly base: RenderedProject; readonly colour: RenderedProject } {
  const base = servicesOf(input, "base");
  const colour = [...servicesOf(input, "colour"), ...servicesOf(input, "task")];
  const shared = resourcesOf(input.template, base);
  const [baseName, colourName] = [projectName(input.siteId, "base"), projectName(input.siteId, input.colour)];
  return {
    base: renderProject(input, { name: baseName, services: base, owner: () => baseName }),
    colour: renderProject(input, {
      name: colourName,
      services: colour,
      owner: (kind, name) => (shared[kind].includes(name) ? baseName : colourName),
      alias: (service) => `${service}-${input.colour}`,
      labels: { "sealift.release": input.release, "sealift.colour": input.colour },
    }),
  };
}

/**
 * A private copy of a site on networks of its own that lead nowhere, without the front and without ports:
 * `services` are all other services of `old`; `migrate`, absent if `next` has no such task, runs on the
 * same networks. @throws COMPOSE_VARIABLE_UNSET
 */
export function renderRehearsal(
  old: RenderInput,
  next: RenderInput,
): { readonly services: RenderedProject; readonly migrate?: RenderedProject } {
  const rules = old.template["x-sealift"];
  const base = servicesOf(old, "base").filter((service) => service !== rules.front.service);
  const services = [...base, ...servicesOf(old, "colour")];
  const shared = resourcesOf(old.template, services);
  const [oldName, nextName] = [projectName(old.siteId, "rehearsal"), projectName(next.siteId, "rehearsal-next")];
  const rendered = renderProject(old, { name: oldName, services, owner: () => oldName, isRehearsal: true });
  const { migrate } = next.template["x-sealift"].tasks;
  if (migrate === undefined) return { services: rendered };
  return {
    services: rendered,
    migrate: renderProject(next, {
      name: nextName,
      services: [migrate],
      owner: (kind, name) => (shared[kind].includes(name) ? oldName : nextName),
      isRehearsal: true,
    }),
  };
}

interface ProjectPlan {
  readonly name: string;
  readonly services: readonly string[];
  /** The project that a network or a volume belongs to; another one's is external. */
  readonly owner: (kind: "networks" | "volumes", name: string) => string;
  /** A service's other name on networks of another project. */
  readonly alias?: (service: string) => string;
  /** For services only: a network or a volume whose labels change would have to be made anew. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly isRehearsal?: boolean;
}

function servicesOf({ template }: RenderInput, part: ServicePart): string[] {
  return Object.keys(template.services).filter((service) => partOf(template["x-sealift"], service) === part);
}

function renderProject(input: RenderInput, plan: ProjectPlan): RenderedProject {
  const { template } = input;
  const used = resourcesOf(template, plan.services);
  const site = { "sealift.site": input.siteId };
  const owned = (kind: "networks" | "volumes"): Members =>
    pick(used[kind], (name) => {
      const owner = plan.owner(kind, name);
      const real = `${owner}_${name}`;
      if (owner !== plan.name) return { external: true, name: real };
      const own = members(template[kind]?.[name]);
      const isClosed = kind === "networks" && plan.isRehearsal === true;
      return {
        ...own,
        ...(isClosed && { internal: true }),
        name: real,
        labels: { ...members(own["labels"]), ...site },
      };
    });
  const project = {
    services: pick(plan.services, (name) => renderService(input, plan, name)),
    networks: owned("networks"),
    volumes: owned("volumes"),
    secrets: pick(used.secrets, (name) => members(template.secrets?.[name])),
    configs: pick(used.configs, (name) => members(template.configs?.[name])),
  };
  const filled = Object.entries(members(substituteVariables(project, (name) => variable(input, name)))).filter(
    ([, value]) => Object.keys(members(value)).length > 0,
  );
  return { name: plan.name, bytes: canonicalJson({ name: plan.name, ...Object.fromEntries(filled) }) };
}

function renderService(input: RenderInput, plan: ProjectPlan, name: string): Members {
  const service = members(input.template.services[name]);
  const rules: ApplianceRules = input.template["x-sealift"];
  const isTask = partOf(rules, name) === "task";
  const { depends_on: _, networks: __, ports, ...rest } = service;
  return {
    ...rest,
    image: imageReference(input.appliance, String(service["image"])),
    ...placeInNetworks(service, plan, name),
    ...(ports !== undefined && plan.isRehearsal !== true && { ports }),
    ...keptDependencies(service, plan),
    ...(Array.isArray(service["volumes"]) && { volumes: service["volumes"].map(bindOfWhatIsThere) }),
    ...(isTask && { profiles: ["task"], restart: "no" }),
    labels: { ...members(service["labels"]), "sealift.site": input.siteId, ...plan.labels },
  };
}

/**
 * Docker answers for the containers' names itself, and asks the host's name servers for every other: for the
 * colour that is not there each second, for ever. Nothing of a site may leave the host, so Docker is told to
 * ask an address of the container's own loopback, where nobody answers.
 */
const NO_NAME_SERVER = "127.83.76.2";

/** Without networks in the template Compose would make a default one, which leads out of the host. */
function placeInNetworks(service: Members, plan: ProjectPlan, name: string): Members {
  const networks = strings(service["networks"]);
  if (networks.length === 0) return { network_mode: "none" };
  const placed = pick(networks, (network) => {
    const isForeign = plan.owner("networks", network) !== plan.name;
    return isForeign && plan.alias ? { aliases: [plan.alias(name)] } : {};
  });
  return { networks: placed, dns: [NO_NAME_SERVER] };
}

/** What another project has runs already when this one starts. */
function keptDependencies(service: Members, plan: ProjectPlan): Members {
  const kept = dependencies(service).filter((other) => plan.services.includes(other));
  if (kept.length === 0) return {};
  const conditions = members(service["depends_on"]);
  return { depends_on: pick(kept, (other) => conditions[other] ?? { condition: "service_started" }) };
}

/** A path that is not there is an error; Compose's default would make a directory of root's. */
function bindOfWhatIsThere(volume: unknown): unknown {
  return members(volume)["type"] === "bind" ? { ...members(volume), bind: { create_host_path: false } } : volume;
}

interface Resources {
  readonly networks: readonly string[];
  readonly volumes: readonly string[];
  readonly secrets: readonly string[];
  readonly configs: readonly string[];
}

/** What these services use. */
function resourcesOf(template: ComposeTemplate, services: readonly string[]): Resources {
  const all = services.map((name) => members(template.services[name]));
  const unique = (names: readonly string[]): string[] => [...new Set(names)];
  return {
    networks: unique(all.flatMap((service) => strings(service["networks"]))),
    volumes: unique(all.flatMap(({ volumes }) => namedVolumes(volumes))),
    secrets: unique(all.flatMap(({ secrets }) => sourcesOf(secrets))),
    configs: unique(all.flatMap(({ configs }) => sourcesOf(configs))),
  };
}

function namedVolumes(volumes: unknown): string[] {
  return (Array.isArray(volumes) ? volumes : []).flatMap((volume: unknown) => {
    if (typeof volume === "string") return volume.split(":")[0] ?? [];
    const { type, source } = members(volume);
    return type === "volume" ? [String(source)] : [];
  });
}

function variable(input: RenderInput, name: string): string {
  const values: Readonly<Record<string, string>> = {
    [RELEASE_VARIABLE]: input.version,
    [COLOUR_VARIABLE]: input.colour,
    [SECRETS_VARIABLE]: input.secretsDirectory,
    [SWITCH_VARIABLE]: input.switchDirectory,
    ...Object.fromEntries(Object.entries(input.files).map(([file, path]) => [fileVariable(file), path])),
    ...Object.fromEntries(
      Object.entries(input.config).map(([setting, value]) => [
        settingVariable(setting),
        typeof value === "string" ? value : canonicalJson(value).toString("utf8"),
      ]),
    ),
  };
  const value = Object.hasOwn(values, name) ? values[name] : undefined;
  if (value !== undefined) return value;
  throw composeError("COMPOSE_VARIABLE_UNSET", `compose template: got no value for ${JSON.stringify(name)}`, {
    hints: ["sealift config show", "a setting without a default must be set before the release can run"],
  });
}

function pick<Value>(names: readonly string[], make: (name: string) => Value): Readonly<Record<string, Value>> {
  return Object.fromEntries(names.map((name) => [name, make(name)]));
}

function members(value: unknown): Members {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Members) : {};
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
