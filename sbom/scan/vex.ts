/**
 * Reads VEX: CycloneDX 1.4 to 1.7 (`vulnerabilities[].analysis`) and OpenVEX 0.2. A statement counts for
 * products it names exactly: an image by digest, a package by a purl with a version, a component of one
 * SBOM by BOM-Link. One that names less is left out, and said to be.
 */
import { sbomError } from "../error.ts";
import { imageDigest, versionedPurl } from "./purl-match.ts";
import { type Product, SUPPRESSING, type VexStatement } from "./statements.ts";

export const VEX_MAX_BYTES = 32 * 1024 * 1024;
const STATEMENTS_MAX = 200_000;
const DETAIL_MAX_LENGTH = 2000;
const FUTURE_MS = 86_400_000;

export interface VexSource {
  /** The file's name, for messages. */
  readonly name: string;
  readonly isSigned: boolean;
  /** A statement of a later time is refused. */
  readonly at: Date;
}

export interface VexDocument {
  readonly statements: readonly VexStatement[];
  /** Products that are not named exactly, and statements from the future: none of them counts. */
  readonly problems: readonly { readonly where: string; readonly message: string }[];
}

type Json = Readonly<Record<string, unknown>>;
type Problem = VexDocument["problems"][number];

/** @throws SCAN_STATEMENT_MALFORMED if it is neither, or breaks its format's rules. Verifies no signature. */
export function readVex(bytes: Buffer, source: VexSource): VexDocument {
  const reader = new Reader(source);
  if (bytes.length > VEX_MAX_BYTES) return reader.refuse(`got ${bytes.length} bytes, want at most ${VEX_MAX_BYTES}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return reader.refuse("not JSON in UTF-8");
  }
  const document = reader.object(value, "document");
  if (document["bomFormat"] === "CycloneDX") return reader.cyclonedx(document);
  const context = document["@context"];
  if (typeof context === "string" && context.startsWith("https://openvex.dev/ns")) return reader.openvex(document);
  return reader.refuse("neither CycloneDX nor OpenVEX");
}

const OPENVEX_STATES: Readonly<Record<string, string>> = {
  not_affected: "not_affected",
  affected: "exploitable",
  fixed: "resolved",
  under_investigation: "in_triage",
};
const CYCLONEDX_STATES: ReadonlySet<string> = new Set([...SUPPRESSING, "exploitable", "in_triage"]);

class Reader {
  readonly #source: VexSource;
  readonly #statements: VexStatement[] = [];
  readonly #problems: Problem[] = [];

  constructor(source: VexSource) {
    this.#source = source;
  }

  refuse(what: string): never {
    throw sbomError("SCAN_STATEMENT_MALFORMED", `VEX ${JSON.stringify(this.#source.name)}: ${what}`);
  }

  object(value: unknown, where: string): Json {
    if (typeof value !== "object" || value === null || Array.isArray(value)) this.refuse(`${where} is no object`);
    return value as Json;
  }

  cyclonedx(document: Json): VexDocument {
    const purls = new Map<string, string>();
    const metadata = this.object(document["metadata"] ?? {}, "metadata");
    for (const component of [metadata["component"], ...this.#list(document["components"], "components")]) {
      const { "bom-ref": ref, purl } = (component ?? {}) as { readonly "bom-ref"?: unknown; readonly purl?: unknown };
      if (typeof ref === "string" && typeof purl === "string") purls.set(ref, purl);
    }
    for (const [i, item] of this.#list(document["vulnerabilities"], "vulnerabilities").entries()) {
      const where = `vulnerabilities[${i}]`;
      const vulnerability = this.object(item, where);
      if (vulnerability["analysis"] === undefined) continue;
      const analysis = this.object(vulnerability["analysis"], `${where}.analysis`);
      const state = this.#text(analysis["state"], `${where}.analysis.state`);
      if (!CYCLONEDX_STATES.has(state)) this.refuse(`${where}: state ${JSON.stringify(state)} is none of CycloneDX`);
      const references = this.#list(vulnerability["references"], `${where}.references`);
      const products = this.#list(vulnerability["affects"], `${where}.affects`).flatMap((one, j): Product[] => {
        const ref = this.#text(this.object(one, `${where}.affects[${j}]`)["ref"], `${where}.affects[${j}].ref`);
        return this.#cyclonedxProduct(ref, purls, `${where}.affects[${j}]`);
      });
      this.#add({
        where,
        names: [vulnerability["id"], ...references.map((one) => (one as Json | null)?.["id"])],
        state,
        justification: analysis["justification"],
        detail: analysis["detail"],
        // The document's own time stands for statements that have none.
        time: analysis["lastUpdated"] ?? analysis["firstIssued"] ?? metadata["timestamp"],
        products,
      });
    }
    return this.#done();
  }

  #cyclonedxProduct(ref: string, purls: ReadonlyMap<string, string>, where: string): Product[] {
    const link = /^urn:cdx:([0-9a-f-]{36})\/[1-9]\d*#(.+)$/i.exec(ref);
    if (link) {
      const [, serial = "", bomRef = ""] = link;
      return [
        { kind: "component", serialNumber: `urn:uuid:${serial.toLowerCase()}`, bomRef: this.#decoded(bomRef, where) },
      ];
    }
    return this.#product(purls.get(ref) ?? ref, undefined, where);
  }

  #decoded(text: string, where: string): string {
    try {
      return decodeURIComponent(text);
    } catch {
      return this.refuse(`${where}: not a BOM-Link`);
    }
  }

  openvex(document: Json): VexDocument {
    for (const [i, item] of this.#list(document["statements"], "statements").entries()) {
      const where = `statements[${i}]`;
      const statement = this.object(item, where);
      const status = this.#text(statement["status"], `${where}.status`);
      const state = Object.hasOwn(OPENVEX_STATES, status) ? OPENVEX_STATES[status] : undefined;
      if (state === undefined) this.refuse(`${where}: status ${JSON.stringify(status)} is none of OpenVEX`);
      if (status === "not_affected" && !statement["justification"] && !statement["impact_statement"]) {
        this.refuse(`${where}: not_affected needs a justification or an impact statement`);
      }
      const { vulnerability } = statement;
      const named = typeof vulnerability === "string" ? { name: vulnerability } : this.object(vulnerability, where);
      const aliases = this.#list(named["aliases"], `${where}.vulnerability.aliases`);
      const products = this.#list(statement["products"], `${where}.products`).flatMap((one, j) =>
        this.#openvexProduct(one, `${where}.products[${j}]`),
      );
      this.#add({
        where,
        names: [named["name"], named["@id"], ...aliases],
        state,
        justification: statement["justification"],
        detail: statement["impact_statement"] ?? statement["action_statement"] ?? statement["status_notes"],
        time: statement["last_updated"] ?? statement["timestamp"] ?? document["last_updated"] ?? document["timestamp"],
        products,
      });
    }
    return this.#done();
  }

  #openvexProduct(value: unknown, where: string): Product[] {
    const product = typeof value === "string" ? { "@id": value } : this.object(value, where);
    const id = this.#openvexId(product, where);
    const parts = this.#list(product["subcomponents"], `${where}.subcomponents`);
    if (parts.length === 0) return this.#product(id, undefined, where);
    return parts.flatMap((one, i) => {
      const at = `${where}.subcomponents[${i}]`;
      const part = this.#openvexId(typeof one === "string" ? { "@id": one } : this.object(one, at), at);
      return this.#product(id, part, at);
    });
  }

  #openvexId(product: Json, where: string): string {
    const identifiers = (product["identifiers"] ?? {}) as { readonly purl?: unknown };
    return this.#text(product["@id"] ?? identifiers.purl, `${where}.@id`);
  }

  #product(id: string, part: string | undefined, where: string): Product[] {
    const digest = imageDigest(id);
    if (digest !== undefined && (part === undefined || versionedPurl(part) !== undefined)) {
      return [{ kind: "image", digest, packagePurl: part }];
    }
    if (part === undefined && digest === undefined && versionedPurl(id) !== undefined) {
      return [{ kind: "package", purl: id }];
    }
    this.#problem(
      where,
      `${JSON.stringify((part ?? id).slice(0, 200))} names no product exactly, want an image's purl with its digest or a package's with its version`,
    );
    return [];
  }

  #add(raw: {
    readonly where: string;
    readonly names: readonly unknown[];
    readonly state: string;
    readonly justification: unknown;
    readonly detail: unknown;
    readonly time: unknown;
    readonly products: readonly Product[];
  }): void {
    const names = raw.names.filter((name): name is string => typeof name === "string" && name !== "");
    if (names.length === 0) this.refuse(`${raw.where} names no vulnerability`);
    if (this.#statements.length >= STATEMENTS_MAX) this.refuse(`more than ${STATEMENTS_MAX} statements`);
    const time = raw.time === undefined ? undefined : new Date(this.#text(raw.time, `${raw.where}: time`));
    if (time && Number.isNaN(time.getTime())) this.refuse(`${raw.where}: ${JSON.stringify(raw.time)} is no time`);
    if (time && time.getTime() > this.#source.at.getTime() + FUTURE_MS) {
      this.#problem(raw.where, `it is of ${time.toISOString()}, which is still to come`);
      return;
    }
    this.#statements.push({
      where: `${this.#source.name} ${raw.where}`,
      names,
      state: raw.state,
      suppresses: SUPPRESSING.has(raw.state),
      justification: this.#optional(raw.justification),
      detail: this.#optional(raw.detail),
      time,
      isSigned: this.#source.isSigned,
      products: raw.products,
    });
  }

  #problem(where: string, message: string): void {
    this.#problems.push({ where: `${this.#source.name} ${where}`, message });
  }

  #done(): VexDocument {
    return { statements: this.#statements, problems: this.#problems };
  }

  #optional(value: unknown): string | undefined {
    return typeof value === "string" ? value.slice(0, DETAIL_MAX_LENGTH) : undefined;
  }

  #text(value: unknown, where: string): string {
    return typeof value === "string" ? value : this.refuse(`${where} is no text`);
  }

  #list(value: unknown, where: string): readonly unknown[] {
    if (value === undefined || value === null) return [];
    return Array.isArray(value) ? value : this.refuse(`${where} is no list`);
  }
}
