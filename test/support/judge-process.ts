/** The verifier that campaigns of mutants ask, here or in a process of its own, and what they demand of its answers. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { closeStore, openStore } from "../../bundles/layout/layout.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { RepairResult } from "../../bundles/transfer/repair.ts";
import { verifyInCage } from "../../verify/cage/run-cage.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { renderVerdictHtml } from "../../verify/verdict-html.ts";
import { renderVerdictSarif } from "../../verify/verdict-sarif.ts";
import { renderVerdictText } from "../../verify/verdict-text.ts";
import { type Answered, answerTo, type JudgeAnswer, type JudgeQuestion, type Shift } from "./judge-question.ts";
import { SMALL_NOW } from "./signed-bundle.ts";

/** Control and format characters, but for the end of a line. */
const ACTING = /[^\P{Cc}\n]|\p{Cf}/u;

type TrustFiles = ReadonlyMap<string, Buffer>;
export type VerifyAnswer = Exclude<Answered, { readonly repaired: RepairResult }>;
export type RepairAnswer = Exclude<Answered, { readonly verdict: Verdict }>;

/** The verifier, in this process. */
export class Judge {
  /** `then` is what the medium does when all but the digests has been looked at. */
  async verify(path: string, trustFiles: TrustFiles, then?: Shift): Promise<VerifyAnswer> {
    const files = Object.fromEntries([...trustFiles].map(([name, bytes]) => [name, bytes.toString("base64")]));
    const answer = await this.#ask({ path, trustFiles: files, ...(then && { then }) });
    return "repaired" in answer ? assert.fail("an answer to another question") : answer;
  }

  /** `then` is what the medium does when every part has been read once. */
  async repair(path: string, then?: Shift): Promise<RepairAnswer> {
    const answer = await this.#ask({ path, ...(then && { then }) });
    return "verdict" in answer ? assert.fail("an answer to another question") : answer;
  }

  async #ask(question: JudgeQuestion): Promise<Answered> {
    const answer = await this.answer(question);
    return "thrown" in answer ? assert.fail(answer.thrown) : answer;
  }

  protected answer(question: JudgeQuestion): Promise<JudgeAnswer> {
    return answerTo(question);
  }
}

/** In a process of its own. */
export class JudgeProcess extends Judge {
  readonly #child: ChildProcess = fork(join(import.meta.dirname, "judge-worker.ts"));

  protected override async answer(question: JudgeQuestion): Promise<JudgeAnswer> {
    const settled = new AbortController();
    const { signal } = settled;
    const answered = once(this.#child, "message", { signal }) as Promise<[JudgeAnswer]>;
    const ended = once(this.#child, "exit", { signal }).then(() => assert.fail("the verifier ended"));
    this.#child.send(question);
    const [answer] = await Promise.race([answered, ended]);
    ended.catch(() => {});
    settled.abort();
    return answer;
  }

  end(): void {
    this.#child.kill();
  }
}

/** The first code that denies. */
export function requireDenied(verdict: Verdict): string {
  assert.equal(verdict.decision, "deny");
  assert.deepEqual(
    verdict.findings.filter(({ status }) => status === "error"),
    [],
  );
  const code = verdict.findings.find(({ status }) => status === "fail")?.code ?? "";
  assert.notEqual(code, "");
  return code;
}

/** What is said about a verdict must not act on a terminal or a browser. */
export function requireHarmless(verdict: Verdict): void {
  assert.doesNotMatch(renderVerdictText(verdict).join("\n"), ACTING);
  assert.doesNotMatch(renderVerdictHtml(verdict, "0"), ACTING);
  assert.doesNotMatch(renderVerdictHtml(verdict, "0"), /<script>alert|<img/);
  assert.doesNotMatch(JSON.stringify(renderVerdictSarif(verdict, "0")), ACTING);
}

/** The verdict of the real cage, or the code with which the bundle was refused before there was one. */
export async function judgeInCage(path: string, trustFiles: TrustFiles): Promise<Verdict | string> {
  let store: ReturnType<typeof openStore> | undefined;
  try {
    store = openStore(path);
    return await verifyInCage({
      store,
      trustFiles,
      policyBytes: undefined,
      time: { at: SMALL_NOW, source: "option" },
      scope: "advisory",
      sealiftVersion: "0.1.0",
      onProgress: () => {},
    });
  } catch (cause) {
    if (cause instanceof SealiftError) return cause.code;
    throw cause;
  } finally {
    if (store) closeStore(store);
  }
}

/** No verdict is no permission either: what is not even a layout has a code of its own. */
export function requireDeniedInCage(said: Verdict | string): void {
  if (typeof said === "string") assert.match(said, /^(?:LAYOUT|PARTS)_/);
  else requireDenied(said);
}
