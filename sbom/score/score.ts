/**
 * How much of what two standards ask for is in an SBOM: the NTIA's minimum elements (2021) and BSI
 * TR-03183-2 (2.1). Each rule counts what has it and what lacks it; nothing is weighed or rounded up.
 * Whether what is stated is true is not looked at.
 */
import { sbomError } from "../error.ts";
import { isSpdxExpression } from "../spdx.ts";

type Json = Readonly<Record<string, unknown>>;

export interface RuleScore {
  readonly id: string;
  readonly asks: string;
  readonly met: number;
  readonly of: number;
  /** Of 100; a rule about components is met by a document without any only as 0. */
  readonly percent: number;
  /** The first ten that lack it: bom-ref, purl or name. */
  readonly lacking: readonly string[];
}

export interface StandardScore {
  readonly standard: string;
  /** The mean of its rules, one decimal. */
  readonly percent: number;
  readonly rules: readonly RuleScore[];
}

interface Context {
  readonly root: Json;
  readonly metadata: Json;
  readonly components: readonly Json[];
  readonly described: ReadonlySet<string>;
  readonly withCompleteness: ReadonlySet<string>;
}

type DocumentRule = { readonly id: string; readonly asks: string; readonly document: (context: Context) => boolean };
type ComponentRule = {
  readonly id: string;
  readonly asks: string;
  readonly component: (component: Json, context: Context) => boolean;
};

const LACKING_SHOWN = 10;

const NTIA: readonly (DocumentRule | ComponentRule)[] = [
  { id: "ntia-author", asks: "who made the SBOM", document: ({ metadata }) => hasMaker(metadata) },
  { id: "ntia-timestamp", asks: "when it was made", document: ({ metadata }) => isText(metadata["timestamp"]) },
  { id: "ntia-supplier", asks: "each component's supplier", component: hasSupplier },
  { id: "ntia-name", asks: "each component's name", component: ({ name }) => isText(name) },
  { id: "ntia-version", asks: "each component's version", component: ({ version }) => isText(version) },
  { id: "ntia-identifier", asks: "another identifier: purl, CPE or SWID", component: hasIdentifier },
  { id: "ntia-dependencies", asks: "what each component depends on", component: isDescribed },
];

const BSI: readonly (DocumentRule | ComponentRule)[] = [
  {
    id: "bsi-format",
    asks: "CycloneDX 1.6 or newer",
    document: ({ root }) => /^1\.(?:[6-9]|\d\d)$/.test(String(root["specVersion"])),
  },
  { id: "bsi-author-contact", asks: "an e-mail address or URL of who made it", document: hasMakersContact },
  { id: "bsi-timestamp", asks: "when it was made", document: ({ metadata }) => isText(metadata["timestamp"]) },
  { id: "bsi-sbom-uri", asks: "a URI of the SBOM", document: ({ root }) => isText(root["serialNumber"]) },
  { id: "bsi-creator", asks: "an e-mail address or URL of who made the component", component: hasCreatorsContact },
  { id: "bsi-name", asks: "each component's name", component: ({ name }) => isText(name) },
  { id: "bsi-version", asks: "each component's version", component: ({ version }) => isText(version) },
  { id: "bsi-filename", asks: "the file's name", component: (one) => hasProperty(one, "filename") },
  {
    id: "bsi-dependencies",
    asks: "dependencies, and whether they are complete",
    component: (one, context) => isDescribed(one, context) && context.withCompleteness.has(String(one["bom-ref"])),
  },
  { id: "bsi-licence", asks: "the licence as an SPDX id or expression", component: hasSpdxLicence },
  { id: "bsi-sha512", asks: "SHA-512 of the deployable component", component: hasSha512 },
  { id: "bsi-executable", asks: "whether it is executable", component: (one) => hasProperty(one, "executable") },
  { id: "bsi-archive", asks: "whether it is an archive", component: (one) => hasProperty(one, "archive") },
  {
    id: "bsi-structured",
    asks: "whether an archive is structured",
    component: (one) => hasProperty(one, "structured"),
  },
  { id: "bsi-identifier", asks: "another identifier: purl, CPE or SWID", component: hasIdentifier },
];

/** `document` is what `parseSbomJson` gives. @throws SBOM_MALFORMED if it is no CycloneDX document */
export function scoreSbom(document: unknown): StandardScore[] {
  const root = object(document);
  if (root?.["bomFormat"] !== "CycloneDX") throw sbomError("SBOM_MALFORMED", "SBOM: bomFormat is not CycloneDX");
  const components = [...nested(root)];
  const compositions = items(root["compositions"]).filter(({ aggregate }) => aggregate !== "not_specified");
  const context: Context = {
    root,
    metadata: object(root["metadata"]) ?? {},
    components,
    described: new Set(items(root["dependencies"]).map(({ ref }) => String(ref))),
    withCompleteness: new Set(compositions.flatMap((one) => texts(one["dependencies"]))),
  };
  return [scoreStandard("NTIA minimum elements", NTIA, context), scoreStandard("BSI TR-03183-2 2.1", BSI, context)];
}

function scoreStandard(
  standard: string,
  rules: readonly (DocumentRule | ComponentRule)[],
  context: Context,
): StandardScore {
  const scores = rules.map((rule) => scoreRule(rule, context));
  const mean = scores.reduce((sum, { percent }) => sum + percent, 0) / scores.length;
  return { standard, percent: down(mean), rules: scores };
}

function scoreRule(rule: DocumentRule | ComponentRule, context: Context): RuleScore {
  const { id, asks } = rule;
  if ("document" in rule) {
    const isMet = rule.document(context);
    return { id, asks, met: Number(isMet), of: 1, percent: isMet ? 100 : 0, lacking: isMet ? [] : ["the document"] };
  }
  const lacking = context.components.filter((one) => !rule.component(one, context));
  const of = context.components.length;
  const met = of - lacking.length;
  const names = lacking.slice(0, LACKING_SHOWN).map((one) => String(one["bom-ref"] ?? one["purl"] ?? one["name"]));
  return { id, asks, met, of, percent: of === 0 ? 0 : down((met / of) * 100), lacking: names };
}

/** Rounded down, so that 100 means all. */
function down(value: number): number {
  return Math.floor(value * 10 + 1e-9) / 10;
}

function* nested(parent: Json): Generator<Json> {
  const todo = items(parent["components"]).reverse();
  for (let next = todo.pop(); next; next = todo.pop()) {
    yield next;
    todo.push(...items(next["components"]).reverse());
  }
}

function hasMaker(metadata: Json): boolean {
  const people = [
    ...items(metadata["authors"]),
    object(metadata["manufacturer"]),
    object(metadata["manufacture"]),
    object(metadata["supplier"]),
  ];
  return people.some((one) => isText(one?.["name"]) || isText(one?.["email"]));
}

function hasMakersContact({ metadata }: Context): boolean {
  return [...items(metadata["authors"]), object(metadata["manufacturer"]), object(metadata["supplier"])].some(
    hasContact,
  );
}

function hasContact(person: Json | undefined): boolean {
  if (!person) return false;
  const emails = [person["email"], ...items(person["contact"]).map(({ email }) => email)];
  return emails.some(isText) || texts(person["url"]).length > 0;
}

function hasSupplier(component: Json): boolean {
  const named = [component["supplier"], component["manufacturer"]].map((one) => object(one)?.["name"]);
  return [...named, component["publisher"], component["author"]].some(isText);
}

function hasCreatorsContact(component: Json): boolean {
  const people = [component["manufacturer"], component["supplier"]].map(object);
  // dpkg and apk write "Name <address>" into one field.
  const inName = people.some((one) => /[^\s@<]+@[^\s@>]+/.test(String(one?.["name"] ?? "")));
  return inName || [...people, ...items(component["authors"])].some(hasContact);
}

function hasIdentifier(component: Json): boolean {
  return isText(component["purl"]) || isText(component["cpe"]) || object(component["swid"]) !== undefined;
}

function isDescribed(component: Json, { described }: Context): boolean {
  return described.has(String(component["bom-ref"]));
}

function hasSpdxLicence(component: Json): boolean {
  return items(component["licenses"]).some((choice) => {
    const stated = choice["expression"] ?? object(choice["license"])?.["id"];
    return typeof stated === "string" && isSpdxExpression(stated);
  });
}

function hasSha512(component: Json): boolean {
  const references = items(component["externalReferences"]).flatMap(({ hashes }) => items(hashes));
  return [...items(component["hashes"]), ...references].some(
    ({ alg, content }) => alg === "SHA-512" && isText(content),
  );
}

function hasProperty(component: Json, name: string): boolean {
  return items(component["properties"]).some((one) => one["name"] === `bsi:component:${name}` && isText(one["value"]));
}

function isText(value: unknown): boolean {
  return typeof value === "string" && value.trim() !== "";
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === "string" && one !== "") : [];
}

function items(value: unknown): Json[] {
  return Array.isArray(value)
    ? value.flatMap((one: unknown): Json[] => {
        const found = object(one);
        return found ? [found] : [];
      })
    : [];
}

function object(value: unknown): Json | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}
