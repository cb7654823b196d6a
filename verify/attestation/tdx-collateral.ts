/**
 * Intel's signed JSON: TCB info (which versions of a platform's parts are good) and the identity of the quoting
 * enclave (Intel PCS API, version 4). The signature is over the bytes of the inner object as they came, so the file
 * must be exactly what Intel's server sent. Reading proves nothing; verify-tdx.ts checks the signatures.
 */

import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { attestationError } from "./error.ts";
import { TCB_COMPONENTS } from "./sgx-extension.ts";

export const TCB_STATUSES = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
] as const;
export type TcbStatus = (typeof TCB_STATUSES)[number];

export interface TcbVerdict {
  readonly tcbStatus: TcbStatus;
  readonly tcbDate: string;
  readonly advisoryIDs?: readonly string[];
}

interface Component {
  readonly svn: number;
}

export interface PlatformLevel extends TcbVerdict {
  readonly tcb: {
    readonly sgxtcbcomponents: readonly Component[];
    readonly tdxtcbcomponents: readonly Component[];
    readonly pcesvn: number;
  };
}

export interface EnclaveLevel extends TcbVerdict {
  readonly tcb: { readonly isvsvn: number };
}

/** Hexadecimal, in either case. */
export interface ModuleIdentity {
  readonly mrsigner: string;
  readonly attributes: string;
  readonly attributesMask: string;
}

interface Dated {
  readonly issueDate: string;
  readonly nextUpdate: string;
  /** Grows with each time that Intel looks at all platforms again. */
  readonly tcbEvaluationDataNumber: number;
}

export interface TcbInfo extends Dated {
  readonly id: "TDX";
  readonly version: 3;
  readonly fmspc: string;
  readonly pceId: string;
  readonly tdxModule: ModuleIdentity;
  /** By major version of the module, `TDX_01` and so on; absent for platforms with TDX 1.0 only. */
  readonly tdxModuleIdentities?: readonly (ModuleIdentity & {
    readonly id: string;
    readonly tcbLevels: readonly EnclaveLevel[];
  })[];
  /** From the newest to the oldest; the first that is met counts. */
  readonly tcbLevels: readonly PlatformLevel[];
}

export interface EnclaveIdentity extends Dated {
  readonly id: "TD_QE";
  readonly version: 2;
  readonly miscselect: string;
  readonly miscselectMask: string;
  readonly attributes: string;
  readonly attributesMask: string;
  readonly mrsigner: string;
  readonly isvprodid: number;
  readonly tcbLevels: readonly EnclaveLevel[];
}

export interface Signed<Document> {
  readonly document: Document;
  /** The document's bytes. */
  readonly signed: Buffer;
  /** r and s (IEEE P1363). */
  readonly signature: Buffer;
}

export type IntelDocument =
  | ({ readonly kind: "tcb-info" } & Signed<TcbInfo>)
  | ({ readonly kind: "enclave-identity" } & Signed<EnclaveIdentity>);

const hex = (bytes: number): object => ({ type: "string", pattern: `^[0-9A-Fa-f]{${2 * bytes}}$` });
const instant = { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$" };
const count = (most: number): object => ({ type: "integer", minimum: 0, maximum: most });
/** Other members are let through: the version says what they may change. */
const open = (properties: Record<string, object>, optional: Record<string, object> = {}): object => ({
  type: "object",
  required: Object.keys(properties),
  properties: { ...properties, ...optional },
});
const levels = (tcb: object): object => ({
  type: "array",
  minItems: 1,
  maxItems: 64,
  items: open(
    { tcb, tcbDate: instant, tcbStatus: { enum: TCB_STATUSES } },
    { advisoryIDs: { type: "array", maxItems: 256, items: { type: "string", maxLength: 64 } } },
  ),
});
const components = {
  type: "array",
  minItems: TCB_COMPONENTS,
  maxItems: TCB_COMPONENTS,
  items: open({ svn: count(0xff) }),
};
const module = { mrsigner: hex(48), attributes: hex(8), attributesMask: hex(8) };
const dated = { issueDate: instant, nextUpdate: instant, tcbEvaluationDataNumber: count(2 ** 31) };

const tcbInfoSchema: JsonSchema = open(
  {
    id: { const: "TDX" },
    version: { const: 3 },
    ...dated,
    fmspc: hex(6),
    pceId: hex(2),
    tdxModule: open(module),
    tcbLevels: levels(open({ sgxtcbcomponents: components, tdxtcbcomponents: components, pcesvn: count(0xffff) })),
  },
  {
    tdxModuleIdentities: {
      type: "array",
      maxItems: 64,
      items: open({
        id: { type: "string", pattern: "^TDX_[0-9A-Fa-f]{2}$" },
        ...module,
        tcbLevels: levels(open({ isvsvn: count(0xffff) })),
      }),
    },
  },
) as JsonSchema;

const enclaveIdentitySchema = open({
  id: { const: "TD_QE" },
  version: { const: 2 },
  ...dated,
  miscselect: hex(4),
  miscselectMask: hex(4),
  attributes: hex(16),
  attributesMask: hex(16),
  mrsigner: hex(32),
  isvprodid: count(0xffff),
  tcbLevels: levels(open({ isvsvn: count(0xffff) })),
}) as JsonSchema;

const FORMS = [
  { kind: "tcb-info", start: '{"tcbInfo":', schema: tcbInfoSchema },
  { kind: "enclave-identity", start: '{"enclaveIdentity":', schema: enclaveIdentitySchema },
] as const;
/** Editors and some downloads end a file with a line break. */
/** Some tools end a file with a line break. */
const END = /,"signature":"([0-9a-f]{128})"\}\n?$/;

/** Whether the file is meant to be one of Intel's documents, by its first byte. */
export function isIntelDocument(bytes: Buffer): boolean {
  return bytes[0] === "{".charCodeAt(0);
}

/** @throws ATTEST_COLLATERAL_MALFORMED, also for TCB info of SGX, and for another version than is understood. */
export function readIntelDocument(bytes: Buffer): IntelDocument {
  const malformed = (problem: string, cause?: unknown): Error =>
    attestationError("ATTEST_COLLATERAL_MALFORMED", `Intel's document: ${problem}`, { cause });
  const text = bytes.toString("utf8");
  const form = FORMS.find(({ start }) => text.startsWith(start));
  const end = END.exec(text);
  if (form === undefined || end === null || !Buffer.from(text).equals(bytes)) {
    throw malformed(
      "want TCB info or an enclave's identity with its signature, byte for byte as Intel's server sends it",
    );
  }
  const inner = text.slice(form.start.length, end.index);
  let document: unknown;
  try {
    document = JSON.parse(inner);
  } catch (cause) {
    throw malformed(reasonOf(cause), cause);
  }
  const problem = schemaProblem(form.schema, document);
  if (problem !== undefined) throw malformed(problem);
  const signature = Buffer.from(end[1] as string, "hex");
  return { kind: form.kind, document, signed: Buffer.from(inner), signature } as IntelDocument;
}
