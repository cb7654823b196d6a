/** What the gateway wants of the service that finds personal data. */
import type { Principal } from "@sealift/service-kit/principal.ts";
import type { Findings } from "./call.ts";

/** A text, or the next piece of one that is still arriving. */
export interface TextWindow {
  readonly text: string;
  /** More will come: the end may be held back. */
  readonly more?: boolean;
  /** What was released last, at most 1024 code units. */
  readonly before?: string;
  /** What the answer to the window before said. */
  readonly running?: string;
}

export interface InspectedText {
  /** In place of the first `consumed` code units, where something had to be replaced. */
  readonly text?: string;
  readonly consumed: number;
  readonly running?: string;
}

export interface Question {
  /** For whom it is asked. */
  readonly principal: Principal;
  readonly channel: "request" | "response";
  readonly texts: readonly TextWindow[];
}

export interface Inspection {
  /** `deny`: none of it may go on. */
  readonly decision: "allow" | "redact" | "deny";
  /** Which policy decided. */
  readonly policy: string;
  /** How often each class was found. */
  readonly findings: Findings;
  /** In the order of the question. */
  readonly texts: readonly InspectedText[];
}

export interface Inspector {
  /** Rejects if nothing can be inspected now. */
  inspect(question: Question): Promise<Inspection>;
}

export function addFindings(sum: Findings, more: Findings): Findings {
  const added: Record<string, number> = { ...sum };
  for (const [name, count] of Object.entries(more)) added[name] = (added[name] ?? 0) + count;
  return added;
}
