/**
 * Seeded mutants of a signature that was made with a certificate, by an attacker who may also have the same services
 * certify and witness what is his: bits of what is in base64, members, witnesses taken away, doubled or moved from
 * another signature, another identity, other authorities. Everything around the signature is made right again.
 */
import { renderCertificateBundle } from "../../bundles/layout/certificate-bundle.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Dice, editJson } from "./mutants.ts";

export interface KeylessScene {
  /** The good signature, as a bundle carries it. */
  readonly signature: Buffer;
  /** Good signatures of the same identity, by the same services, over something else. */
  readonly ofOthers: readonly Buffer[];
  /** Signatures over the same thing that must not count: another identity's, other services'. */
  readonly forged: readonly Buffer[];
}

export interface KeylessMutant {
  readonly kind: string;
  readonly what: string;
  readonly signature: Buffer;
}

type Json = Record<string, unknown>;
type Change = (bundle: Json, dice: Dice, scene: KeylessScene) => string;

const parsed = (bundle: Buffer): Json => JSON.parse(bundle.toString()) as Json;
const material = (bundle: Json): Json => bundle["verificationMaterial"] as Json;
const entryOf = (bundle: Json): Json => (material(bundle)["tlogEntries"] as Json[])[0] as Json;

interface Text {
  readonly path: string;
  readonly holder: Json;
  readonly key: string;
  readonly text: string;
}

/** Every text in the bundle. */
export function* textsOf(holder: Json, path = ""): Generator<Text> {
  for (const [key, value] of Object.entries(holder)) {
    if (typeof value === "object" && value !== null) yield* textsOf(value as Json, `${path}.${key}`);
    else if (typeof value === "string") yield { path: `${path}.${key}`, holder, key, text: value };
  }
}

const isBase64 = (text: string): boolean => text.length > 8 && Buffer.from(text, "base64").toString("base64") === text;

/** Changes the bytes of one text, or what it stands for. */
function changeBytes(bundle: Json, dice: Dice, change: (bytes: Buffer) => Buffer): string {
  const { path, holder, key, text } = dice.pick([...textsOf(bundle)]);
  const encoding = isBase64(text) ? "base64" : "utf8";
  holder[key] = change(Buffer.from(text, encoding)).toString(encoding);
  return path;
}

const KINDS: Readonly<Record<string, Change>> = {
  "bit flips": (bundle, dice) =>
    changeBytes(bundle, dice, (bytes) => {
      const at = dice.below(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << dice.below(8));
      return bytes;
    }),
  "bytes put in, taken out or doubled": (bundle, dice) =>
    changeBytes(bundle, dice, (bytes) => {
      const [at, count] = [dice.below(bytes.length + 1), 1 + dice.below(40)];
      const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
      const how = dice.below(3);
      if (how === 0) return Buffer.concat([before, Buffer.alloc(count, dice.below(256)), after]);
      if (how === 1) return Buffer.concat([before, after.subarray(count)]);
      return Buffer.concat([before, after.subarray(0, count), after]);
    }),
  "members edited": (bundle, dice) => {
    const { what, bytes } = editJson(Buffer.from(JSON.stringify(bundle)), dice);
    for (const name of Object.keys(bundle)) delete bundle[name];
    try {
      Object.assign(bundle, parsed(bytes));
    } catch {
      // No JSON any more: an empty object stands for it.
    }
    return what;
  },
  "witnesses taken away": (bundle, dice) => {
    const gone: readonly (readonly [string, (all: Json) => unknown])[] = [
      ["log entries", (all) => delete all["tlogEntries"]],
      ["timestamps", (all) => delete all["timestampVerificationData"]],
      ["inclusion proof", () => delete entryOf(bundle)["inclusionProof"]],
      ["checkpoint", () => delete (entryOf(bundle)["inclusionProof"] as Json)["checkpoint"]],
      ["hashes", () => ((entryOf(bundle)["inclusionProof"] as Json)["hashes"] as unknown[]).pop()],
      ["certificate", (all) => delete all["certificate"]],
    ];
    const [what, take] = dice.pick(gone);
    take(material(bundle));
    return what;
  },
  "witnesses doubled or added": (bundle, dice, { ofOthers, forged }) => {
    const other = material(parsed(dice.pick([...ofOthers, ...forged])));
    const all = material(bundle);
    const how = dice.below(3);
    const entries = all["tlogEntries"] as Json[];
    const added = how === 0 ? entries : (other["tlogEntries"] as Json[]);
    if (dice.below(2) === 0) entries.push(...added);
    else entries.unshift(...added);
    return ["the same entry", "another's entry", "another's entry first"][how] ?? "";
  },
  "parts of another signature": (bundle, dice, { ofOthers, forged }) => {
    const other = parsed(dice.pick([...ofOthers, ...forged]));
    const names = ["certificate", "tlogEntries", "timestampVerificationData", "dsseEnvelope"] as const;
    const taken = names.filter(() => dice.below(2) === 0);
    for (const name of taken) {
      if (name === "dsseEnvelope") bundle[name] = other[name];
      else material(bundle)[name] = material(other)[name];
    }
    return taken.join(" and ");
  },
  "members of another's log entry": (bundle, dice, { ofOthers, forged }) => {
    const [entry, other] = [entryOf(bundle), entryOf(parsed(dice.pick([...ofOthers, ...forged])))];
    const name = dice.pick(Object.keys(entry));
    entry[name] = other[name];
    return name;
  },
  "whole signatures that must not count": (bundle, dice, { ofOthers, forged }) => {
    const all = [...ofOthers, ...forged];
    const which = dice.below(all.length);
    for (const name of Object.keys(bundle)) delete bundle[name];
    Object.assign(bundle, parsed(all[which] as Buffer));
    return `number ${which}`;
  },
};

/** The mutant `number`, never the signature itself. In the one form of a bundle where it still has one. */
export function makeKeylessMutant(scene: KeylessScene, dice: Dice, number: number): KeylessMutant {
  const kinds = Object.entries(KINDS);
  const [kind, change] = kinds[number % kinds.length] as (typeof kinds)[number];
  for (;;) {
    const bundle = parsed(scene.signature);
    const what = change(bundle, dice, scene);
    const json = canonicalJson(bundle);
    const signature = renderCertificateBundle(json) ?? json;
    if (!signature.equals(scene.signature)) return { kind, what, signature };
  }
}
