/**
 * Other values for what services know each other by, as a part of a deployment. The colour that starts gets the
 * new ones, and while the old colour lives both count:
 *
 *                     before   between        after
 *   a colour's file   old      new, old       new        the new colour starts with "between", and keeps it
 *   base, a key       old      old, new       new        its services are started anew at both changes
 *   base, a password  old      old            new        its server is started anew at the last change
 *
 * The same for identities, where "both" means both roots. What was before, and what comes after, lie beside the
 * secrets until it is over, so that it can be taken back and completed after a crash.
 */
import { join } from "node:path";
import { type ApplianceRules, partOf, type SecretRule, sourcesOf } from "../../bundles/model/appliance-rules.ts";
import type { ComposeTemplate } from "../../bundles/model/compose-template.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { SECRETS_VARIABLE } from "../../bundles/model/template-variables.ts";
import { makeDirectory, readStateFile, removeTree } from "../site/disk.ts";
import { siteError } from "../site/error.ts";
import { makeIdentity, makeIdentityRoot, openIdentityRoot, rootBytes } from "../site/identities.ts";
import { identityRootPath, type SecretSite } from "../site/secret-makers.ts";
import { randomValue, secretFiles, writeSecret } from "../site/secrets.ts";
import type { StatePaths } from "../site/state.ts";
import { lifecycleError } from "./error.ts";

export const ROTATIONS = ["secrets", "certificates"] as const;
export type RotationWish = (typeof ROTATIONS)[number];

/** In the journal; no value is. */
export interface Rotation {
  readonly wish: RotationWish;
  /** Below secrets/. */
  readonly files: readonly RotatedFile[];
  /** Services of the base that are started anew before the other colour starts, and when the old one is gone. */
  readonly between: readonly string[];
  readonly after: readonly string[];
}

export interface RotatedFile {
  readonly path: string;
  readonly uid: number;
}

export interface PlannedRotation {
  readonly rotation: Rotation;
  /** For the person who signs. */
  readonly details: readonly string[];
}

type RotatingRule = Extract<SecretRule, { readonly kind: "password" | "key" | "identity" }>;
type Place = "base" | "colour";

/** What a file holds while both values count, and from then on. */
interface Values {
  readonly between: Buffer;
  readonly after: Buffer;
}

const FILE_MAX_BYTES = 64 * 1024;

const names = { type: "array", maxItems: 64, items: { type: "string", maxLength: 64 } };
export const rotationSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["wish", "files", "between", "after"],
  properties: {
    wish: { enum: [...ROTATIONS] },
    files: {
      type: "array",
      minItems: 1,
      maxItems: 256,
      items: {
        type: "object",
        additionalProperties: false,
        required: ["path", "uid"],
        properties: { path: { type: "string", maxLength: 256 }, uid: { type: "integer", minimum: 1 } },
      },
    },
    between: names,
    after: names,
  },
};

/** @throws ROTATION_NOT_HERE if the release has nothing of the kind that can be rotated */
export function planRotation(template: ComposeTemplate, wish: RotationWish): PlannedRotation {
  const rules = template["x-sealift"];
  const rotating = rotatingRules(rules, wish);
  const places = placesOf(template);
  const files = rotating.flatMap((rule) => Object.entries(secretFiles(rule)).map(([path, uid]) => ({ path, uid })));
  const shared = files.find(({ path }) => (places.get(path)?.size ?? 0) > 1);
  if (files.length === 0 || shared) {
    const why = shared ? `${shared.path} is read by the base and by a colour` : "nothing in it says that it may be";
    throw lifecycleError("ROTATION_NOT_HERE", `the ${wish} of this release cannot be rotated: ${why}`);
  }
  const readers = (kept: readonly RotatingRule[]): string[] => {
    const paths = new Set(kept.flatMap((rule) => Object.keys(secretFiles(rule))));
    return rules.base.filter((service) => secretsOf(template, service).some((path) => paths.has(path))).sort();
  };
  const rotation: Rotation = {
    wish,
    files,
    between: readers(rotating.filter(({ kind }) => kind !== "password")),
    after: readers(rotating),
  };
  return { rotation, details: detailsOf(rules, wish, files) };
}

/** Those whose values a rotation of this kind replaces. */
export function rotatingRules(rules: ApplianceRules, wish: RotationWish): RotatingRule[] {
  return rules.secrets.flatMap((rule): readonly RotatingRule[] => {
    if (wish === "certificates") return rule.kind === "identity" ? [rule] : [];
    return (rule.kind === "password" || rule.kind === "key") && rule.rotates === true ? [rule] : [];
  });
}

function detailsOf(rules: ApplianceRules, wish: RotationWish, files: readonly RotatedFile[]): string[] {
  const paths = files.map(({ path }) => path);
  if (wish === "certificates") {
    return [`another root of the certificates inside, and with it another identity: ${paths.join(", ")}`];
  }
  const kept = rules.secrets
    .filter(({ kind }) => kind === "password" || kind === "key" || kind === "ed25519")
    .flatMap((rule) => Object.keys(secretFiles(rule)))
    .filter((path) => !paths.includes(path));
  return [
    `another value for ${paths.join(", ")}`,
    ...(kept.length > 0 ? [`not rotated, because what they made would not be known again: ${kept.join(", ")}`] : []),
  ];
}

/** By file below secrets/: where those run who read it. A task reads it as a colour does. */
function placesOf(template: ComposeTemplate): ReadonlyMap<string, ReadonlySet<Place>> {
  const places = new Map<string, Set<Place>>();
  for (const service of Object.keys(template.services)) {
    const place = partOf(template["x-sealift"], service) === "base" ? "base" : "colour";
    for (const path of secretsOf(template, service)) places.set(path, (places.get(path) ?? new Set()).add(place));
  }
  return places;
}

/** The files below secrets/ that a service reads. */
function secretsOf({ services, secrets = {} }: ComposeTemplate, service: string): string[] {
  return sourcesOf(services[service]?.["secrets"]).map((source) => {
    const { file = "" } = (secrets[source] ?? {}) as { readonly file?: string };
    return file.replace(`\${${SECRETS_VARIABLE}}/`, "");
  });
}

function besides({ directory }: StatePaths): string {
  return join(directory, "site", "rotation");
}

/** `path` as one name: no path of a secret has a `+`. */
function copyOf(paths: StatePaths, which: "before" | "after", path: string): string {
  return join(besides(paths), which, path.replaceAll("/", "+"));
}

/** Nobody but this operation reads the root, so its file changes when all is over. */
function nextRoot(paths: StatePaths): string {
  return join(besides(paths), "after", "root");
}

/**
 * Makes the new values, and writes those of "between". Killed in its middle it is taken back by `restoreRotation`.
 * @throws STATE_DAMAGED if the files of a secret are not there or contradict each other | STATE_…
 */
export function beginRotation(site: SecretSite, template: ComposeTemplate, { wish, files }: Rotation): void {
  const { disk, paths } = site;
  const values = wish === "secrets" ? secretValues(site, template) : identityValues(site, template);
  removeTree(disk, besides(paths));
  for (const path of [besides(paths), join(besides(paths), "before"), join(besides(paths), "after")]) {
    makeDirectory(disk, path);
  }
  if (values.root) writeSecret(disk, nextRoot(paths), values.root, 0);
  for (const { path } of files) {
    const value = values.files.get(path);
    if (!value) throw new TypeError(`no value for ${path}`);
    writeSecret(disk, copyOf(paths, "before", path), readSecretFile(paths, path), 0);
    writeSecret(disk, copyOf(paths, "after", path), value.after, 0);
  }
  for (const { path, uid } of files) {
    writeSecret(disk, secretPath(paths, path), values.files.get(path)?.between as Buffer, uid);
  }
}

/** Puts back what was before, whole or half. Returns whether anything may have been replaced. */
export function restoreRotation({ disk, paths }: SecretSite, { files }: Rotation): boolean {
  const kept = files.flatMap(({ path, uid }) => {
    const bytes = readStateFile(copyOf(paths, "before", path), FILE_MAX_BYTES);
    return bytes ? [{ path, uid, bytes }] : [];
  });
  // The copies are whole before the first file is replaced.
  if (kept.length < files.length) return false;
  for (const { path, uid, bytes } of kept) writeSecret(disk, secretPath(paths, path), bytes, uid);
  return true;
}

/** The old values count no more. May be done again. @throws STATE_DAMAGED if the new ones are not there any more */
export function settleRotation({ disk, paths }: SecretSite, { wish, files }: Rotation): void {
  for (const { path, uid } of files) {
    const bytes = readStateFile(copyOf(paths, "after", path), FILE_MAX_BYTES);
    if (!bytes) throw damaged(path);
    writeSecret(disk, secretPath(paths, path), bytes, uid);
  }
  const root = readStateFile(nextRoot(paths), FILE_MAX_BYTES);
  if (root) writeSecret(disk, identityRootPath(paths), root, 0);
  else if (wish === "certificates") throw damaged("the root");
}

/** The old values, and the copies of the new ones. */
export function forgetRotation({ disk, paths }: Pick<SecretSite, "disk" | "paths">): void {
  removeTree(disk, besides(paths));
}

interface NewValues {
  readonly files: ReadonlyMap<string, Values>;
  readonly root?: Buffer;
}

function secretValues({ paths }: SecretSite, template: ComposeTemplate): NewValues {
  const places = placesOf(template);
  const values = new Map<string, Values>();
  for (const rule of rotatingRules(template["x-sealift"], "secrets")) {
    if (rule.kind === "identity") continue;
    const of = Object.keys(rule.files);
    const [old = "", ...others] = of.map((path) => readSecretFile(paths, path).toString("latin1"));
    if (old.includes("\n") || others.some((other) => other !== old)) throw damaged(of.join(", "));
    const next = randomValue(rule.kind).toString("latin1");
    for (const path of of) {
      const isBase = places.get(path)?.has("base") === true;
      const both = isBase ? [old, ...(rule.kind === "key" ? [next] : [])] : [next, old];
      values.set(path, { between: Buffer.from(both.join("\n")), after: Buffer.from(next) });
    }
  }
  return { files: values };
}

function identityValues({ disk, paths }: SecretSite, template: ComposeTemplate): NewValues {
  const places = placesOf(template);
  const [old, next] = [openIdentityRoot(disk, identityRootPath(paths)), makeIdentityRoot()];
  const values = new Map<string, Values>();
  for (const rule of rotatingRules(template["x-sealift"], "certificates")) {
    if (rule.kind !== "identity") continue;
    for (const { path, bytes } of makeIdentity(rule, next)) {
      const isBase = places.get(path)?.has("base") === true;
      const [own, also] = isBase ? [readSecretFile(paths, path), next.certificates] : [bytes, old.certificates];
      values.set(path, { between: Buffer.concat([own, Buffer.from(also.join(""))]), after: bytes });
    }
  }
  return { files: values, root: rootBytes(next) };
}

function secretPath({ directory }: StatePaths, path: string): string {
  return join(directory, "secrets", path);
}

/** @throws STATE_DAMAGED if it is not there or empty */
function readSecretFile(paths: StatePaths, path: string): Buffer {
  const bytes = readStateFile(secretPath(paths, path), FILE_MAX_BYTES);
  if (bytes && bytes.length > 0) return bytes;
  throw damaged(path);
}

function damaged(what: string): Error {
  return siteError("STATE_DAMAGED", `secrets: ${what}: missing, or not what one secret's files hold`, {
    hints: ["restore these files from a backup of the site"],
  });
}
