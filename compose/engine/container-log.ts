/** What a container wrote, bounded. */
import { dockerCall, type EngineTools } from "./engine.ts";
import { runCall } from "./run-call.ts";

const LINES = 2_000;
/** A line is 16 KiB at most, as engines cut it. */
const READ_MAX_BYTES = LINES * 17 * 1024;
const READ_MAX_MS = 10_000;

/**
 * The end of it, both streams in the order of their times, whole lines, `maxBytes` at most; empty if it wrote
 * nothing. The bytes are the container's: make them harmless before a terminal gets them.
 * @throws ENGINE_CALL_FAILED
 */
export async function containerLog(engine: EngineTools, id: string, maxBytes: number): Promise<Buffer> {
  const call = dockerCall(engine, ["logs", "--timestamps", "--tail", String(LINES), id]);
  const { stdout, stderr } = await runCall(call, { timeoutMs: READ_MAX_MS, maxBytes: READ_MAX_BYTES });
  const lines = `${stdout}${stderr}`.split("\n").filter((line) => line !== "");
  const all = Buffer.from(
    lines
      .sort()
      .map((line) => `${line}\n`)
      .join(""),
  );
  if (all.length <= maxBytes) return all;
  const end = all.subarray(all.length - maxBytes);
  return end.subarray(end.indexOf("\n") + 1);
}
