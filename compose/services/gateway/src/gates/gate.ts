/** What a control is, and what a gate is: a control that can stop a request before anything is done for it. */
import type { Problem } from "@sealift/service-kit/problem.ts";
import type { Call } from "../call.ts";
import type { ChatLimits } from "../chat-request.ts";
import type { Identities } from "../database/identities.ts";
import type { Inspector } from "../inspector.ts";
import type { RequestRoom } from "../request-room.ts";
import type { TokenBuckets } from "../token-buckets.ts";

export interface Control {
  /** Permanent: it is in audit records. */
  readonly id: string;
  readonly name: string;
  /** One sentence, for the matrix of controls. */
  readonly promise: string;
  /** Who answers for it, and with which settings or verbs. */
  readonly owner: string;
  /** What must be so besides, for the promise to hold. */
  readonly assumes: string;
  /** Rows of the requirements. */
  readonly rows: readonly string[];
  /** What a client gets when the control stops its request. */
  readonly problems: readonly Problem[];
  /** The test file that shows it, from the project's root. */
  readonly test: string;
}

/** What gates work with. */
export interface GateMeans {
  readonly identities: Identities;
  /** Failed logins, by where they come from. */
  readonly failures: TokenBuckets;
  /** Requests, by key. */
  readonly rates: TokenBuckets;
  readonly room: RequestRoom;
  readonly inspector: Inspector;
  readonly limits: ChatLimits & { readonly bodyMaxBytes: number };
}

export interface Gate extends Control {
  /** The problem that ends the request; a rejection ends it too. Sets in `call` what later gates stand on. */
  readonly check: (call: Call, means: GateMeans) => Problem | undefined | Promise<Problem | undefined>;
}
