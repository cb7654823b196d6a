/** One request on its way: what is known of it so far, and what has to be given back when it ends. */
import type { Principal } from "@sealift/service-kit/principal.ts";
import type { Problem } from "@sealift/service-kit/problem.ts";
import type { ChatRequest } from "./chat-request.ts";
import type { Login } from "./database/database.ts";
import type { Place } from "./request-room.ts";

/** Also the name of the capability that it needs. */
export type Operation = "chat" | "models" | "usage";

/** How often something of a class was found. */
export type Findings = Readonly<Record<string, number>>;

export interface CallOptions {
  readonly requestId: string;
  readonly operation: Operation;
  /** The header, as it came. */
  readonly authorization?: string | undefined;
  /** A keyed hash of the client's address. */
  readonly source?: string | undefined;
  /** The whole body, at most so many bytes. @throws BodyError */
  readonly readBody: (maxBytes: number) => Promise<Buffer>;
  /** What the client says of its length; undefined if it does not. */
  readonly bodyLength?: number | undefined;
}

export class Call {
  readonly requestId: string;
  readonly operation: Operation;
  readonly authorization: string | undefined;
  readonly source: string | undefined;
  readonly bodyLength: number | undefined;
  readonly readBody: (maxBytes: number) => Promise<Buffer>;
  login: Login | undefined;
  chat: ChatRequest | undefined;
  place: Place | undefined;
  /** By which what the client sent was inspected. */
  policy: string | undefined;
  /** Of what the client sent. */
  findings: Findings = {};
  readonly #releases: (() => void)[] = [];

  constructor(options: CallOptions) {
    this.requestId = options.requestId;
    this.operation = options.operation;
    this.authorization = options.authorization;
    this.source = options.source;
    this.bodyLength = options.bodyLength;
    this.readBody = options.readBody;
  }

  /** For whom other services are asked; undefined as long as nobody is authenticated. */
  get principal(): Principal | undefined {
    const { requestId, login } = this;
    if (!login) return undefined;
    const { tenantId: tenant, tenantName, principalId: actor, role } = login;
    return { requestId, tenant, tenantName, actor, role };
  }

  /** Runs `release` when the call is over, however it ends. */
  hold(release: () => void): void {
    this.#releases.push(release);
  }

  release(): void {
    for (const release of this.#releases.splice(0)) release();
  }
}

/** What a gate found before must have set. */
export function known<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("a gate ran before the one that it stands on");
  return value;
}

/** Where a request stopped. */
export interface Refusal {
  /** The gate's id and name. */
  readonly control: string;
  readonly gate: string;
  readonly problem: Problem;
}
