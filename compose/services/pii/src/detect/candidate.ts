import type { PiiClass } from "../classes.ts";

/** Something that a detector found at the place where it was asked to look. */
export interface Candidate {
  readonly class: PiiClass;
  /** Offset after the last code unit. */
  readonly end: number;
  /** 0 to 1, before the words around it are weighed. */
  readonly score: number;
  /** A secret that goes on past the longest match: everything up to its end belongs to it. */
  readonly running?: RunningSecret;
}

/** The kinds of secrets without a greatest length: one word, or the lines of a key file. */
export type RunningSecret = "token" | "key-file";
