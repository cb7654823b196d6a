/** Server-sent events of a model, one JSON object each, as OpenAI's API streams them. */

/** The stream is not what this API sends, or it ended before its end. */
export class StreamError extends Error {
  readonly code: "STREAM_MALFORMED" | "STREAM_CUT" | "STREAM_EVENT_TOO_LARGE";
  constructor(code: StreamError["code"]) {
    super(code);
    this.name = "StreamError";
    this.code = code;
  }
}

const EVENT_MAX_CHARACTERS = 256 * 1024;
/** An empty line; line ends are either `\n` or `\r\n`. */
const END_OF_EVENT = /\n\r?\n/;
const END_MAX_CHARACTERS = 3;

/**
 * The payloads of the events, those of a chunk together, up to `[DONE]`; what comes behind it is not read, except that
 * the chunk must be UTF-8 to its end. Comments and other fields are dropped.
 * @throws StreamError, or what `chunks` throws
 */
export async function* eventPayloads(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<readonly string[]> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const end = new RegExp(END_OF_EVENT, "g");
  let rest = "";
  for await (const chunk of chunks) {
    const seen = rest.length;
    rest += decode(decoder, chunk);
    const payloads: string[] = [];
    let from = 0;
    // Nothing is looked at twice but what may begin an end that goes on in this chunk.
    end.lastIndex = Math.max(0, seen - END_MAX_CHARACTERS);
    for (let found = end.exec(rest); found; found = end.exec(rest)) {
      const payload = payloadOf(rest.slice(from, found.index));
      from = end.lastIndex;
      if (payload === "[DONE]") {
        if (payloads.length > 0) yield payloads;
        return;
      }
      if (payload !== undefined) payloads.push(payload);
    }
    rest = rest.slice(from);
    if (rest.length > EVENT_MAX_CHARACTERS) throw new StreamError("STREAM_EVENT_TOO_LARGE");
    if (payloads.length > 0) yield payloads;
  }
  throw new StreamError("STREAM_CUT");
}

function decode(decoder: TextDecoder, chunk: Uint8Array): string {
  try {
    return decoder.decode(chunk, { stream: true });
  } catch {
    throw new StreamError("STREAM_MALFORMED");
  }
}

function payloadOf(event: string): string | undefined {
  const lines = event.split("\n").flatMap((line) => /^data: ?(.*?)\r?$/s.exec(line)?.[1] ?? []);
  return lines.length > 0 ? lines.join("\n") : undefined;
}
