/**
 * Reads a CycloneDX document (JSON, 1.4 to 1.7) as far as Sealift decides by it. Pure and small: the
 * verifier loads this file in its cage, so it imports nothing but the error type. What it does not
 * look at (evidence, vulnerabilities …) is for the schema (validate.ts).
 */
import { sbomError } from "./error.ts";

/** The same limit as for any document of a bundle (bundles/layout/contents.ts). */
export const SBOM_MAX_BYTES = 32 * 1024 * 1024;
export const SBOM_MAX_COMPONENTS = 200_000;
const NESTING_MAX = 32;
/** The schema's validator recurses. */
const JSON_NESTING_MAX = 128;

/** What content-digest.ts in generate/ writes: `KIND:VALUE`. */
const DIGEST_PROPERTY = "sealift:package:digest";
/** What changed-files.ts in generate/ writes of a package: one path each, and how many there are. */
export const CHANGED_FILE_PROPERTY = "sealift:package:changed-file";
export const CHANGED_FILES_PROPERTY = "sealift:package:changed-files";

export type SpecVersion = "1.4" | "1.5" | "1.6" | "1.7";
const SPEC_VERSIONS: readonly string[] = ["1.4", "1.5", "1.6", "1.7"] satisfies SpecVersion[];

export interface SbomComponent {
  /** CycloneDX component type, such as `library`, `operating-system` or `container`. */
  readonly type: string;
  readonly name: string;
  readonly group?: string;
  readonly version?: string;
  readonly bomRef?: string;
  /** As it stands in the document; not checked to be a purl. */
  readonly purl?: string;
  readonly properties: readonly { readonly name: string; readonly value: string }[];
  /** SPDX ids, expressions and names, sorted; absent if the document states none. */
  readonly licences?: readonly string[];
  /**
   * `ALGORITHM:hex` of the component's own bytes, and `KIND:value` of Sealift's digests of a package's files
   * (property `sealift:package:digest`), sorted; absent if the document states none.
   */
  readonly hashes?: readonly string[];
}

/** The values of a component's properties of this name, in document order. */
export function propertyValues({ properties }: Pick<SbomComponent, "properties">, name: string): string[] {
  return properties.filter((one) => one.name === name).map(({ value }) => value);
}

export interface SbomDependency {
  readonly ref: string;
  readonly dependsOn: readonly string[];
}

export interface SbomDocument {
  readonly specVersion: SpecVersion;
  readonly serialNumber?: string;
  /** RFC 3339, as it stands in the document. */
  readonly timestamp?: string;
  /** What the document is about: `metadata.component`. */
  readonly subject?: SbomComponent;
  /** All of them, those nested in others too, in document order. */
  readonly components: readonly SbomComponent[];
  readonly dependencies: readonly SbomDependency[];
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Parses at most SBOM_MAX_BYTES with at most SBOM_MAX_COMPONENTS components.
 * @throws SBOM_MALFORMED. Does not validate against the schema, nor check that references lead anywhere,
 * that a bom-ref is unique, or that the bytes are canonical JSON.
 */
export function parseSbom(bytes: Uint8Array): SbomDocument {
  const document = object(parseSbomJson(bytes), "document");
  if (document["bomFormat"] !== "CycloneDX") throw malformed("bomFormat is not CycloneDX");
  const specVersion = document["specVersion"];
  if (typeof specVersion !== "string" || !SPEC_VERSIONS.includes(specVersion)) {
    throw malformed(`specVersion: got ${brief(specVersion)}, want ${SPEC_VERSIONS.join(", ")}`);
  }
  const metadata = optional(document["metadata"], (value) => object(value, "metadata"));
  const components: SbomComponent[] = [];
  const subjectValue = metadata?.["component"];
  const subject = optional(subjectValue, (value) =>
    component(object(value, "metadata.component"), "metadata.component"),
  );
  if (subjectValue !== undefined) nested(subjectValue as Json, "metadata.component", components, 1);
  nested(document, "document", components, 0);
  const dependencies = list(document["dependencies"], "dependencies").map((value, i): SbomDependency => {
    const where = `dependencies[${i}]`;
    const dependency = object(value, where);
    const dependsOn = list(dependency["dependsOn"], `${where}.dependsOn`);
    return {
      ref: text(dependency["ref"], `${where}.ref`),
      dependsOn: dependsOn.map((ref, at) => text(ref, `${where}.dependsOn[${at}]`)),
    };
  });
  return {
    specVersion: specVersion as SpecVersion,
    ...members(document, "document", ["serialNumber"]),
    ...members(metadata ?? {}, "metadata", ["timestamp"]),
    ...(subject ? { subject } : {}),
    components,
    dependencies,
  };
}

/** The JSON value of a document, not looked at. @throws SBOM_MALFORMED if it is too large, too deep or not JSON in UTF-8. */
export function parseSbomJson(bytes: Uint8Array): unknown {
  if (bytes.byteLength > SBOM_MAX_BYTES) {
    throw malformed(`got ${bytes.byteLength} bytes, want at most ${SBOM_MAX_BYTES}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw malformed("not JSON", cause);
  }
  if (isDeeperThan(JSON_NESTING_MAX, value)) throw malformed(`nested deeper than ${JSON_NESTING_MAX} levels`);
  return value;
}

function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((member) => isDeeperThan(levels - 1, member));
}

function nested(parent: Json, where: string, found: SbomComponent[], depth: number): void {
  const children = list(parent["components"], `${where}.components`);
  if (depth > NESTING_MAX) throw malformed(`components are nested deeper than ${NESTING_MAX}`);
  for (const [i, value] of children.entries()) {
    const at = `${where}.components[${i}]`;
    const child = object(value, at);
    found.push(component(child, at));
    if (found.length > SBOM_MAX_COMPONENTS) throw malformed(`more than ${SBOM_MAX_COMPONENTS} components`);
    nested(child, at, found, depth + 1);
  }
}

function component(value: Json, where: string): SbomComponent {
  const bomRef = value["bom-ref"];
  const properties = propertiesOf(value, where);
  const licences = sorted(licencesOf(value, where));
  const hashes = sorted([...hashesOf(value, where), ...packageDigests(properties)]);
  return {
    type: text(value["type"], `${where}.type`),
    name: text(value["name"], `${where}.name`),
    ...members(value, where, ["group", "version", "purl"]),
    ...(bomRef === undefined ? {} : { bomRef: text(bomRef, `${where}.bom-ref`) }),
    properties,
    ...(licences ? { licences } : {}),
    ...(hashes ? { hashes } : {}),
  };
}

function propertiesOf(value: Json, where: string): SbomComponent["properties"] {
  return list(value["properties"], `${where}.properties`).map((item, i) => {
    const property = object(item, `${where}.properties[${i}]`);
    // A property without a value is valid CycloneDX.
    const content = property["value"] === undefined ? "" : text(property["value"], `${where}.properties[${i}].value`);
    return { name: text(property["name"], `${where}.properties[${i}].name`), value: content };
  });
}

function sorted(found: readonly string[]): readonly string[] | undefined {
  return found.length === 0 ? undefined : [...new Set(found)].sort();
}

function licencesOf(value: Json, where: string): string[] {
  return list(value["licenses"], `${where}.licenses`).flatMap((item, i): string[] => {
    const choice = object(item, `${where}.licenses[${i}]`);
    const licence =
      choice["license"] === undefined ? choice : object(choice["license"], `${where}.licenses[${i}].license`);
    const stated = licence["id"] ?? licence["name"] ?? licence["expression"];
    // From 1.7 on an expression may come in parts instead.
    return stated === undefined ? [] : [text(stated, `${where}.licenses[${i}]`)];
  });
}

function hashesOf(value: Json, where: string): string[] {
  return list(value["hashes"], `${where}.hashes`).map((item, i) => {
    const hash = object(item, `${where}.hashes[${i}]`);
    return `${text(hash["alg"], `${where}.hashes[${i}].alg`)}:${text(hash["content"], `${where}.hashes[${i}].content`)}`;
  });
}

function packageDigests(properties: SbomComponent["properties"]): string[] {
  const values = properties.filter(({ name }) => name === DIGEST_PROPERTY).map(({ value }) => value);
  return values.filter((value) => value.includes(":"));
}

function members<Name extends string>(value: Json, where: string, names: readonly Name[]): { [K in Name]?: string } {
  const found: { [K in Name]?: string } = {};
  for (const name of names) {
    if (value[name] !== undefined) found[name] = text(value[name], `${where}.${name}`);
  }
  return found;
}

function optional<T>(value: unknown, read: (value: unknown) => T): T | undefined {
  return value === undefined ? undefined : read(value);
}

function object(value: unknown, where: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw malformed(`${where}: got ${brief(value)}, want an object`);
  }
  return value as Json;
}

function list(value: unknown, where: string): readonly unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw malformed(`${where}: got ${brief(value)}, want an array`);
  return value;
}

function text(value: unknown, where: string): string {
  if (typeof value !== "string") throw malformed(`${where}: got ${brief(value)}, want a string`);
  return value;
}

function brief(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null) return "an object";
  const json = JSON.stringify(value) ?? "nothing";
  return json.length > 80 ? `${json.slice(0, 80)}…` : json;
}

function malformed(what: string, cause?: unknown): Error {
  return sbomError("SBOM_MALFORMED", `SBOM: ${what}`, { cause });
}
