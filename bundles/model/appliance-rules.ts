/**
 * `x-sealift`: what an appliance says in its Compose template about how a site runs it. Which services
 * stay through an upgrade, which run once, who is asked whether the release works, and which secrets the
 * installer makes. The shape is checked by a schema, the references to the rest of the template by
 * `applianceRuleProblems`; builder and verifier do both (compose-template.ts).
 */
import type { JsonSchema } from "./schema.ts";
import { changesWithRelease, variableUses } from "./template-variables.ts";

export interface ApplianceRules {
  /** Services that stay through an upgrade. All others but the tasks are made anew in each colour. */
  readonly base: readonly string[];
  /**
   * Services that run once and end; `up` never starts them. `migrate` brings the database's schema forward,
   * `credentials` makes the first ones, `tenants` does what an operator orders (installer/lifecycle/tenants.ts).
   */
  readonly tasks: Readonly<Partial<Record<TaskName, string>>>;
  /** `service` publishes the clients' port and hands connections to `target` of the live colour. */
  readonly front: { readonly service: string; readonly target: string };
  /** The base service that is Postgres, and the databases whose content is the site's data. */
  readonly database?: { readonly service: string; readonly names: readonly string[] };
  /**
   * Asked before and after a switch: GET http://<service>:<port><path> must answer 200 with JSON whose
   * `release` is the version, at most `withinMs` milliseconds after the switch.
   */
  readonly canary: {
    readonly service: string;
    readonly port: number;
    readonly path: string;
    readonly withinMs: number;
  };
  /**
   * The base service that takes events over mutual TLS (compose/services/audit): it is told each entry of the site's
   * ledger, by an identity `installer`, so that ledger and audit log are each other's witness.
   */
  readonly audit?: { readonly service: string; readonly port: number };
  /** Seconds that a colour may take to end its requests when it is taken away. */
  readonly drainSeconds: number;
  readonly secrets: readonly SecretRule[];
}

const TASK_NAMES = ["migrate", "credentials", "tenants"] as const;
export type TaskName = (typeof TASK_NAMES)[number];

/** Path below the site's secrets directory → the one uid that may read the file; mode 0400. */
export type SecretFiles = Readonly<Record<string, number>>;

/** One generated secret, the same in each of its files. */
export type SecretRule =
  /**
   * password: 32 random bytes in base64url; key: 32 random bytes in hexadecimal. No newline at the end.
   * `rotates`: an operator may have it replaced. Then each reader in a colour must take a file of two lines, the
   * first to show or sign with, the second as good; and each in base those of a key, or of a password the first.
   */
  | { readonly kind: "password" | "key"; readonly files: SecretFiles; readonly rotates?: boolean }
  /** PKCS#8 PEM in `files`, the public half as SPKI PEM in `publicFiles`. */
  | { readonly kind: "ed25519"; readonly files: SecretFiles; readonly publicFiles: SecretFiles }
  /** The mTLS identity of a service, in the files of `directory`; `fixed` for one that cannot make its own leaf. */
  | {
      readonly kind: "identity";
      readonly service: string;
      readonly directory: string;
      readonly uid: number;
      readonly fixed?: boolean;
    }
  /** TLS for the appliance's clients, in the files of `directory`: the site's own until one is imported. */
  | { readonly kind: "server-certificate"; readonly directory: string; readonly uid: number };

export const SERVICE_NAME_PATTERN = "^[a-z0-9][a-z0-9_-]{0,62}$";

const serviceName = { type: "string", pattern: SERVICE_NAME_PATTERN };
/** What fits into a certificate's common name, with what installer/site/identities.ts puts around it. */
export const IDENTITY_NAME_PATTERN = "^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$";
const certifiedName = { type: "string", pattern: IDENTITY_NAME_PATTERN };
const uid = { type: "integer", minimum: 1, maximum: 65_534 };
const directory = { type: "string", pattern: "^[a-z0-9][a-z0-9._-]{0,62}(?:/[a-z0-9][a-z0-9._-]{0,62})?$" };
const files = (minProperties: number): object => ({
  type: "object",
  minProperties,
  maxProperties: 64,
  propertyNames: { type: "string", pattern: "^[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}$" },
  additionalProperties: uid,
});
const closed = (properties: Readonly<Record<string, object>>, optional: readonly string[] = []): object => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties).filter((member) => !optional.includes(member)),
  properties,
});

export const applianceRulesSchema: JsonSchema = {
  ...closed(
    {
      base: { type: "array", minItems: 1, maxItems: 64, uniqueItems: true, items: serviceName },
      tasks: closed(Object.fromEntries(TASK_NAMES.map((name) => [name, serviceName])), TASK_NAMES),
      front: closed({ service: serviceName, target: serviceName }),
      database: closed({
        service: serviceName,
        names: {
          type: "array",
          minItems: 1,
          maxItems: 32,
          uniqueItems: true,
          items: { type: "string", pattern: "^[a-z][a-z0-9_]{0,62}$" },
        },
      }),
      canary: closed({
        service: serviceName,
        port: { type: "integer", minimum: 1, maximum: 65_535 },
        path: { type: "string", pattern: "^/[A-Za-z0-9/_.-]{0,255}$" },
        withinMs: { type: "integer", minimum: 100, maximum: 600_000 },
      }),
      audit: closed({ service: serviceName, port: { type: "integer", minimum: 1, maximum: 65_535 } }),
      drainSeconds: { type: "integer", minimum: 1, maximum: 3_600 },
      secrets: {
        type: "array",
        maxItems: 256,
        items: {
          oneOf: [
            closed({ kind: { enum: ["password", "key"] }, files: files(1), rotates: { type: "boolean" } }, ["rotates"]),
            closed({ kind: { const: "ed25519" }, files: files(1), publicFiles: files(0) }),
            closed(
              { kind: { const: "identity" }, service: certifiedName, directory, uid, fixed: { type: "boolean" } },
              ["fixed"],
            ),
            closed({ kind: { const: "server-certificate" }, directory, uid }),
          ],
        },
      },
    },
    ["database", "audit"],
  ),
};

export type ServicePart = "base" | "colour" | "task";

/** Where a service of the template runs. */
export function partOf(rules: ApplianceRules, service: string): ServicePart {
  if (rules.base.includes(service)) return "base";
  return Object.values(rules.tasks).includes(service) ? "task" : "colour";
}

/** What the rules refer to: the services of the template, its configurations, and the files of its secrets section. */
export interface RuledTemplate {
  readonly services: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly configs: Readonly<Record<string, unknown>>;
  /** Relative to the site's secrets directory. */
  readonly secretFiles: readonly string[];
}

/** What in `rules` does not fit the template, one line each. Both have their schemas' shapes. */
export function applianceRuleProblems(rules: ApplianceRules, template: RuledTemplate): string[] {
  return [
    ...nameProblems(rules, template),
    ...Object.entries(template.services).flatMap(([name, service]) => serviceProblems(rules, name, service, template)),
    ...secretProblems(rules.secrets, template.secretFiles),
  ];
}

function nameProblems(rules: ApplianceRules, { services }: RuledTemplate): string[] {
  const named: readonly (readonly [string, string, ServicePart | "any"])[] = [
    ...rules.base.map((name) => ["base", name, "base"] as const),
    ...Object.entries(rules.tasks).map(([task, name]) => [`tasks/${task}`, name, "task"] as const),
    ["front/service", rules.front.service, "base"],
    ["front/target", rules.front.target, "colour"],
    ["canary/service", rules.canary.service, "colour"],
    ...(rules.database ? [["database/service", rules.database.service, "base"] as const] : []),
    ...(rules.audit ? [["audit/service", rules.audit.service, "base"] as const] : []),
    ...rules.secrets.flatMap((rule) =>
      rule.kind === "identity" ? [["secrets/service", rule.service, "any"] as const] : [],
    ),
  ];
  const tasks = Object.values(rules.tasks);
  return [
    ...named.flatMap(([where, name, want]) => {
      const service = JSON.stringify(name);
      if (!Object.hasOwn(services, name)) return [`${where}: service ${service} is not in the template`];
      const got = partOf(rules, name);
      return want === "any" || got === want ? [] : [`${where}: service ${service}: got ${got}, want ${want}`];
    }),
    ...(new Set(tasks).size < tasks.length ? ["tasks: one service is two tasks"] : []),
  ];
}

function serviceProblems(
  rules: ApplianceRules,
  name: string,
  service: Readonly<Record<string, unknown>>,
  template: RuledTemplate,
): string[] {
  const part = partOf(rules, name);
  const problems: string[] = [];
  for (const other of dependencies(service)) {
    const otherPart = partOf(rules, other);
    if (!Object.hasOwn(template.services, other))
      problems.push(`depends on ${JSON.stringify(other)}, which is not here`);
    else if (otherPart === "task") problems.push(`depends on the task ${JSON.stringify(other)}`);
    // A task runs before the colour starts, and must not start it.
    else if (part !== "colour" && otherPart === "colour") {
      problems.push(`${part} depends on ${JSON.stringify(other)}, which is made anew with each release`);
    }
  }
  // Two colours would want the same port of the host.
  if (part !== "base" && service["ports"] !== undefined) problems.push("publishes ports, but is not in base");
  if (part === "base") {
    const used = sourcesOf(service["configs"]).map((source) => template.configs[source]);
    const changing = new Set(variableUses([service, used]).names.filter(changesWithRelease));
    for (const variable of changing) problems.push(`is in base, but \${${variable}} changes with the release`);
  }
  return problems.map((problem) => `service ${JSON.stringify(name)} ${problem}`);
}

/** The services that `service` waits for, of either form of `depends_on`. */
export function dependencies(service: Readonly<Record<string, unknown>>): string[] {
  const value = service["depends_on"];
  if (Array.isArray(value)) return value.map(String);
  return typeof value === "object" && value !== null ? Object.keys(value) : [];
}

/** The names of the secrets or configurations that a service uses, of either form. */
export function sourcesOf(uses: unknown): string[] {
  if (!Array.isArray(uses)) return [];
  return uses.map((use: unknown) =>
    String(typeof use === "object" && use !== null && "source" in use ? use.source : use),
  );
}

/** Each file of the section is made by exactly one rule, and each rule makes files of the section. */
function secretProblems(rules: readonly SecretRule[], files: readonly string[]): string[] {
  const covers = rules.flatMap((rule) => secretPaths(rule));
  const isCovered = (file: string, cover: string): boolean => file === cover || file.startsWith(`${cover}/`);
  const problems = [...new Set(files)].flatMap((file) => {
    const count = covers.filter((cover) => isCovered(file, cover)).length;
    return count === 1 ? [] : [`secrets: file ${JSON.stringify(file)}: got ${count} rules that make it, want 1`];
  });
  for (const [i, cover] of covers.entries()) {
    const shown = JSON.stringify(cover);
    if (!files.some((file) => isCovered(file, cover))) {
      problems.push(`secrets: ${shown} is made by a rule, but is not in the template's secrets`);
    }
    // A directory of one rule must not hold what another makes, even where the template does not use it.
    if (covers.some((other, j) => i !== j && isCovered(cover, other))) {
      problems.push(`secrets: ${shown} is made by more than one rule`);
    }
  }
  return problems;
}

/** The files, or the one directory, that `rule` makes. */
function secretPaths(rule: SecretRule): string[] {
  switch (rule.kind) {
    case "password":
    case "key":
      return Object.keys(rule.files);
    case "ed25519":
      return [...Object.keys(rule.files), ...Object.keys(rule.publicFiles)];
    case "identity":
    case "server-certificate":
      return [rule.directory];
  }
}
