/** A small continuous load: every request over a new connection, every answer looked at. */
import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { ask, type Front, type Question } from "./client.ts";

export interface LoadReport {
  readonly sent: number;
  /** No whole answer with status 200. */
  readonly lost: number;
  /** Up to ten reasons. */
  readonly reasons: readonly string[];
  /** How many answers came from each release. */
  readonly releases: Readonly<Record<string, number>>;
  readonly slowestMs: number;
}

export interface LoadPart {
  readonly question: Question;
  /** Requests under way at once. */
  readonly clients: number;
  /** Between an answer and the next request of a client. */
  readonly pauseMs: number;
}

/** A model that shares two processors with an upgrade takes its time; slow is not lost. */
const ANSWER_MS = 120_000;
const REASONS_MAX = 10;

/** Runs until `stop` is called, which waits for the answers that are still to come. */
export function startLoad(front: Front, parts: readonly LoadPart[]): { readonly stop: () => Promise<LoadReport> } {
  const report = { sent: 0, lost: 0, reasons: [] as string[], releases: {} as Record<string, number>, slowestMs: 0 };
  let isOver = false;
  const client = async ({ question, pauseMs }: LoadPart): Promise<void> => {
    while (!isOver) {
      report.sent += 1;
      try {
        const { status, headers, milliseconds } = await ask(front, question, ANSWER_MS);
        if (status !== 200) throw new Error(`status ${status}`);
        const release = String(headers["sealift-release"] ?? "unknown");
        report.releases[release] = (report.releases[release] ?? 0) + 1;
        report.slowestMs = Math.max(report.slowestMs, milliseconds);
      } catch (cause) {
        report.lost += 1;
        if (report.reasons.length < REASONS_MAX) report.reasons.push(`${question.path}: ${reasonOf(cause)}`);
      }
      await sleep(pauseMs);
    }
  };
  const clients = parts.flatMap((part) => Array.from({ length: part.clients }, () => client(part)));
  return {
    stop: async () => {
      isOver = true;
      await Promise.all(clients);
      return report;
    },
  };
}
