/**
 * What the certificate of a platform's key (PCK) says about the platform (Intel SGX PCK Certificate and CRL Profile
 * Specification, 1.3.5): a sequence of pairs of an OID below 1.2.840.113741.1.13.1 and a value. Read by this one
 * shape only; the certificate's signature, which is checked elsewhere, covers every byte of it.
 */
import { attestationError } from "./error.ts";

export const SGX_EXTENSION = "1.2.840.113741.1.13.1";
/** The same, as the content of an OBJECT IDENTIFIER. */
const PREFIX = Buffer.from("2a864886f84d010d01", "hex");

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const OBJECT_IDENTIFIER = 0x06;
const SEQUENCE = 0x30;
const LONG_LENGTH = 0x80;

export const TCB_COMPONENTS = 16;

export interface PlatformCertificate {
  /** The chip's name: 16 bytes. */
  readonly ppid: Buffer;
  readonly components: readonly number[];
  readonly pceSvn: number;
  readonly pceId: string;
  /** The family of the platform, 12 lower-case hexadecimal digits. */
  readonly fmspc: string;
  /** Null where the certificate does not say: a machine with one socket. */
  readonly smtEnabled: boolean | null;
}

interface Value {
  readonly tag: number;
  readonly content: Buffer;
}

const malformed = (problem: string): Error =>
  attestationError("ATTEST_CERTIFICATE_MALFORMED", `certificate: SGX extension: ${problem}`);

/** @throws ATTEST_CERTIFICATE_MALFORMED, also for an extension that is not there. */
export function readSgxExtension(der: Buffer | undefined): PlatformCertificate {
  if (der === undefined) throw malformed("there is none");
  const [outer, ...rest] = readValues(der);
  if (outer?.tag !== SEQUENCE || rest.length > 0) throw malformed("want one sequence");
  const members = readMembers(outer.content, []);
  const tcb = readMembers(required(members, 2, SEQUENCE), [2]);
  const configuration = members.get(7);
  const smt = configuration && readMembers(required(members, 7, SEQUENCE), [7]).get(3);
  return {
    ppid: octets(members, 1, 16),
    components: Array.from({ length: TCB_COMPONENTS }, (_, i) => integer(tcb, i + 1, 0xff)),
    pceSvn: integer(tcb, TCB_COMPONENTS + 1, 0xffff),
    pceId: octets(members, 3, 2).toString("hex"),
    fmspc: octets(members, 4, 6).toString("hex"),
    smtEnabled: smt ? boolean(smt) : null,
  };
}

/** Last number of the OID → value. `path` is what stands between the prefix and that number. */
function readMembers(bytes: Buffer, path: readonly number[]): ReadonlyMap<number, Value> {
  const members = new Map<number, Value>();
  const prefix = Buffer.concat([PREFIX, Buffer.from(path)]);
  for (const { tag, content } of readValues(bytes)) {
    const [oid, value, ...rest] = tag === SEQUENCE ? readValues(content) : [];
    if (oid?.tag !== OBJECT_IDENTIFIER || value === undefined || rest.length > 0) throw malformed("want pairs");
    const last = oid.content[prefix.length];
    if (last === undefined || oid.content.length !== prefix.length + 1 || !oid.content.subarray(0, -1).equals(prefix)) {
      throw malformed("an OID is not Intel's");
    }
    if (members.has(last)) throw malformed(`member ${last} is there twice`);
    members.set(last, value);
  }
  return members;
}

/** DER values one after another. */
function readValues(bytes: Buffer): Value[] {
  const values: Value[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at];
    const short = bytes[at + 1];
    if (tag === undefined || short === undefined) throw malformed("a value is cut");
    const lengthBytes = short < LONG_LENGTH ? 0 : short - LONG_LENGTH;
    const start = at + 2 + lengthBytes;
    if (lengthBytes > 2 || short === LONG_LENGTH || start > bytes.length) throw malformed("a length cannot be read");
    const length = lengthBytes === 0 ? short : bytes.readUIntBE(at + 2, lengthBytes);
    if (lengthBytes > 0 && length < (lengthBytes === 1 ? LONG_LENGTH : 0x100)) throw malformed("a length is not DER");
    if (start + length > bytes.length) throw malformed("a value is cut");
    values.push({ tag, content: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return values;
}

function required(members: ReadonlyMap<number, Value>, name: number, tag: number): Buffer {
  const value = members.get(name);
  if (value?.tag !== tag) throw malformed(`member ${name} is missing, or of another type`);
  return value.content;
}

function octets(members: ReadonlyMap<number, Value>, name: number, length: number): Buffer {
  const content = required(members, name, OCTET_STRING);
  if (content.length !== length) throw malformed(`member ${name}: got ${content.length} bytes, want ${length}`);
  return content;
}

function integer(members: ReadonlyMap<number, Value>, name: number, most: number): number {
  const content = required(members, name, INTEGER);
  const [first = 0, second = 0] = content;
  const isPadded = content.length > 1 && first === 0 && second < 0x80;
  const value = content.length === 0 || content.length > 3 ? Number.NaN : content.readIntBE(0, content.length);
  if (isPadded || !(value >= 0 && value <= most)) throw malformed(`member ${name}: want a number from 0 to ${most}`);
  return value;
}

function boolean({ tag, content }: Value): boolean {
  const [byte] = content;
  if (tag !== BOOLEAN || content.length !== 1 || (byte !== 0 && byte !== 0xff)) throw malformed("want true or false");
  return byte !== 0;
}
