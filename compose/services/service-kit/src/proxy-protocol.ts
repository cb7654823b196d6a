/**
 * PROXY protocol version 2, the receiving side (HAProxy's specification, section 2.2): how the front tells
 * whom a connection really comes from.
 *
 * Strict: TCP over IPv4 or IPv6 with PROXY, anything with LOCAL (the front's own connections); at most
 * 512 bytes after the fixed part. TLVs are passed over, not read.
 */
import type { Socket } from "node:net";

export interface ClientAddress {
  /** As Node writes it: `192.0.2.1`, `2001:db8:0:0:0:0:0:1`. */
  readonly address: string;
  readonly port: number;
}

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const FIXED_BYTES = 16;
const REST_MAX_BYTES = 512;
const LOCAL = 0x20;
const PROXY = 0x21;
const FAMILIES = new Map([
  [0x11, { addressBytes: 4, read: ipv4 }],
  [0x21, { addressBytes: 16, read: ipv6 }],
]);

/** `code` is fit for a log; there is no other detail. */
export class ProxyHeaderError extends Error {
  readonly code: "PROXY_HEADER_MALFORMED" | "PROXY_HEADER_LATE" | "PROXY_HEADER_MISSING";
  constructor(code: ProxyHeaderError["code"]) {
    super(code);
    this.name = "ProxyHeaderError";
    this.code = code;
  }
}

function ipv4(bytes: Buffer): string {
  return bytes.join(".");
}

function ipv6(bytes: Buffer): string {
  return Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(2 * group).toString(16)).join(":");
}

/** How many bytes follow the first sixteen. @throws ProxyHeaderError */
export function restLength(fixed: Buffer): number {
  const length = fixed.readUInt16BE(14);
  const command = fixed[12];
  const known = command === LOCAL || (command === PROXY && FAMILIES.has(fixed[13] ?? 0));
  if (!SIGNATURE.equals(fixed.subarray(0, SIGNATURE.length)) || !known || length > REST_MAX_BYTES) {
    throw new ProxyHeaderError("PROXY_HEADER_MALFORMED");
  }
  return length;
}

/** The client's address; undefined for a connection of the front itself. @throws ProxyHeaderError */
export function clientAddress(fixed: Buffer, rest: Buffer): ClientAddress | undefined {
  if (fixed[12] === LOCAL) return undefined;
  const family = FAMILIES.get(fixed[13] ?? 0);
  if (!family || rest.length < 2 * family.addressBytes + 4) throw new ProxyHeaderError("PROXY_HEADER_MALFORMED");
  return {
    address: family.read(rest.subarray(0, family.addressBytes)),
    port: rest.readUInt16BE(2 * family.addressBytes),
  };
}

/**
 * Takes the header off a new connection and not one byte more. The connection is left paused with what
 * came behind the header; a failed one must be destroyed by the caller.
 * @throws ProxyHeaderError
 */
export function readProxyHeader(socket: Socket, withinMs: number): Promise<ClientAddress | undefined> {
  return new Promise((resolve, reject) => {
    let fixed: Buffer | null = null;
    let rest = 0;
    const read = (): ClientAddress | undefined | "more" => {
      if (!fixed) {
        fixed = socket.read(FIXED_BYTES) as Buffer | null;
        if (!fixed) return "more";
        // At the end of a stream read() gives what is left.
        if (fixed.length < FIXED_BYTES) throw new ProxyHeaderError("PROXY_HEADER_MISSING");
        rest = restLength(fixed);
      }
      const bytes = rest === 0 ? Buffer.alloc(0) : (socket.read(rest) as Buffer | null);
      return bytes ? clientAddress(fixed, bytes) : "more";
    };
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      socket.off("readable", onReadable);
      socket.off("close", onClose);
      settle();
    };
    const onReadable = (): void => {
      try {
        const found = read();
        if (found !== "more") end(() => resolve(found));
      } catch (cause) {
        end(() => reject(cause));
      }
    };
    const onClose = (): void => end(() => reject(new ProxyHeaderError("PROXY_HEADER_MISSING")));
    const timer = setTimeout(() => end(() => reject(new ProxyHeaderError("PROXY_HEADER_LATE"))), withinMs);
    socket.on("readable", onReadable);
    socket.on("close", onClose);
  });
}
