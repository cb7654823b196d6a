/**
 * `support-bundle`: one file that says how a site is, for somebody who must not see what is in it. What goes in
 * is what an allow list names (shapes.ts, log-lines.ts); nothing is masked, because nothing else comes that far.
 * Works whatever of the site is broken: a part that cannot be had is named with its code.
 */
import { existsSync } from "node:fs";
import { paddedSize, renderEnd, renderHeader } from "../../../bundles/layout/tar-format.ts";
import { type Digest, digestOf } from "../../../bundles/model/digest.ts";
import { fileExists } from "../../../bundles/model/file-exists.ts";
import { reasonOf, SealiftError } from "../../../bundles/model/sealift-error.ts";
import type { Engine } from "../../../compose/engine/engine.ts";
import { installerError } from "../../error.ts";
import type { DoctorFinding } from "../../host/doctor.ts";
import { sealiftVersion } from "../../host/this-host.ts";
import type { Clock } from "../../site/clock.ts";
import { type Disk, systemCode, writeWhole } from "../../site/disk.ts";
import { type StatePaths, statePaths } from "../../site/state.ts";
import { PARTS, type Part } from "./parts.ts";
import { secretSearch } from "./secret-values.ts";

/** Of one file, and of all: what is more is not gathered. */
const FILE_MAX_BYTES = 4 * 1024 * 1024;
const BUNDLE_MAX_BYTES = 32 * 1024 * 1024;

export interface SupportGround {
  readonly directory: string;
  readonly paths: StatePaths;
  readonly clock: Clock;
  readonly engine: () => Promise<Engine>;
  readonly doctor: () => Promise<readonly DoctorFinding[]>;
}

export interface SupportOptions extends Pick<SupportGround, "clock" | "engine" | "doctor"> {
  /** Told the name of each part before it is gathered. */
  readonly onProgress?: (part: string) => void;
}

export interface SupportFile {
  readonly name: string;
  readonly about: string;
  readonly bytes: number;
  readonly digest: Digest;
}

export interface SupportManifest {
  readonly schemaVersion: 1;
  readonly created: string;
  readonly sealift: string;
  readonly files: readonly SupportFile[];
  /** What should be here and is not, and the code of why; `sealift` on the site says more. */
  readonly notGathered: readonly { readonly name: string; readonly code: string }[];
  /** What is deliberately not here. */
  readonly leftOut: readonly string[];
}

export interface SupportBundle {
  readonly manifest: SupportManifest;
  /** A tar in the one order and form that there is for these files. */
  readonly tar: Buffer;
}

const LEFT_OUT: readonly string[] = [
  "secrets, keys and certificates, of the site and of its clients; that no secret of the site is here was looked at, but for what is named above",
  "prompts, answers and documents; the services write none of them down",
  "entries of the audit log, and the databases",
  "who authorized what: requests, signatures, reasons and the names of operators, tenants and holders of keys",
  "settings that are texts, environments, commands, health checks' output",
  "lines of logs that are not fields of a service's own; of each file it says how many",
  "addresses of clients and of this host",
];

/** Gathers it; writes nothing. Never fails for what is wrong with the site. */
export async function gatherSupport(directory: string, options: SupportOptions): Promise<SupportBundle> {
  const { clock, engine, doctor, onProgress = () => {} } = options;
  const ground = { directory, paths: statePaths(directory), clock, engine, doctor };
  const gathered = new Map<string, { readonly about: string; readonly bytes: Buffer }>();
  const notGathered: { name: string; code: string }[] = [];
  const { forms, isWhole } = secretSearch(directory);
  if (!isWhole) notGathered.push({ name: "search for the site's secrets", code: "STATE_UNREADABLE" });
  let size = 0;
  for (const part of PARTS) {
    onProgress(part.name);
    try {
      for (const [name, text] of await filesOf(part, ground)) {
        const bytes = Buffer.from(text);
        const problem = problemOf(bytes, size, forms);
        if (problem) notGathered.push({ name, code: problem });
        else {
          gathered.set(name, { about: part.about, bytes });
          size += bytes.length;
        }
      }
    } catch (cause) {
      notGathered.push({ name: part.name, code: codeOf(cause) });
    }
  }
  const sorted = [...gathered].sort(([one], [other]) => (one < other ? -1 : 1));
  const manifest: SupportManifest = {
    schemaVersion: 1,
    created: clock().now.toISOString(),
    sealift: sealiftVersion(),
    files: sorted.map(([name, { about, bytes }]) => ({ name, about, bytes: bytes.length, digest: digestOf(bytes) })),
    notGathered,
    leftOut: LEFT_OUT,
  };
  const documents: [string, Buffer][] = [
    ["README.txt", Buffer.from(readme(manifest))],
    ["manifest.json", Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)],
  ];
  return { manifest, tar: tarOf([...documents, ...sorted.map(([name, { bytes }]) => [name, bytes] as const)]) };
}

async function filesOf(part: Part, ground: SupportGround): Promise<readonly (readonly [string, string])[]> {
  const found = await part.gather(ground);
  if (found instanceof Map) return [...found].map(([name, text]) => [`${part.name}/${name}`, String(text)] as const);
  return [[part.name, `${JSON.stringify(found, null, 2)}\n`]];
}

function problemOf(bytes: Buffer, size: number, forms: readonly Buffer[]): string | undefined {
  if (bytes.length > FILE_MAX_BYTES || size + bytes.length > BUNDLE_MAX_BYTES) return "SUPPORT_TOO_LARGE";
  return forms.some((form) => bytes.includes(form)) ? "SUPPORT_SECRET_FOUND" : undefined;
}

/** Only the code: a message may quote what nobody shall see. */
function codeOf(cause: unknown): string {
  if (cause instanceof SealiftError) return cause.code;
  return systemCode(cause) === undefined ? "INTERNAL" : "STATE_UNREADABLE";
}

function readme({ created, sealift, files, notGathered, leftOut }: SupportManifest): string {
  const lines = [
    `Support bundle of a Sealift site, made ${created} by Sealift ${sealift}.`,
    "",
    "Read it before you hand it on: every file is text. Nothing was sent anywhere.",
    "manifest.json has the SHA-256 of each file.",
    "",
    "In here:",
    ...files.map(({ name, about }) => `  ${name}: ${about}`),
    "",
    "Could not be gathered (the codes are explained in runbooks/errors.md):",
    ...(notGathered.length === 0 ? ["  nothing"] : notGathered.map(({ name, code }) => `  ${name}: ${code}`)),
    "",
    "Deliberately not in here:",
    ...leftOut.map((what) => `  ${what}`),
    "",
  ];
  return lines.join("\n");
}

function tarOf(files: readonly (readonly [string, Buffer])[]): Buffer {
  const parts = files.flatMap(([name, bytes]) => [
    renderHeader(name, bytes.length),
    bytes,
    Buffer.alloc(paddedSize(bytes.length) - bytes.length),
  ]);
  return Buffer.concat([...parts, renderEnd()]);
}

/** Mode 0600, whole or not at all, in place of nothing. @throws FILE_EXISTS | FILE_WRITE_FAILED */
export function writeSupport(disk: Disk, path: string, tar: Buffer): void {
  if (existsSync(path)) throw fileExists(path);
  try {
    writeWhole(disk, path, tar);
  } catch (cause) {
    // What the state's own words say of it names the path, and hints at the state.
    const reason = reasonOf(cause instanceof SealiftError ? (cause.cause ?? cause) : cause);
    throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(path)}: ${reason}`, { cause });
  }
}
