/**
 * A process of its own for `answerTo`, so that its memory is the verifier's and not that of whoever makes the mutants.
 * Forked by judge-process.ts; answers each question over the channel.
 */
import { answerTo, type JudgeQuestion } from "./judge-question.ts";

process.on("message", async (question: JudgeQuestion) => {
  process.send?.(await answerTo(question));
});
