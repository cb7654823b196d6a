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

/**
 * The payloads of the events, those of a chunk together, up to `[DONE]`; what comes behind it is not read.
 * Comments and other fields are dropped.
 * @throws StreamError, or what `chunks` throws
 */
export async function* eventPayloads(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<readonly string[]> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "";
  for await (const chunk of chunks) {
    rest += decode(decoder, chunk);
    const payloads: string[] = [];
    let from = 0;
    for (let end = endOfEvent(rest, from); end; end = endOfEvent(rest, from)) {
      const payload = payloadOf(rest.slice(from, end.at));
      from = end.next;
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

/** Events end with an empty line; its line ends are either `\n` or `\r\n`. */
function endOfEvent(text: string, from: number): { readonly at: number; readonly next: number } | undefined {
  const plain = text.indexOf("\n\n", from);
  const carriage = text.indexOf("\n\r\n", from);
  if (plain === -1 && carriage === -1) return undefined;
  return carriage === -1 || (plain !== -1 && plain < carriage)
    ? { at: plain, next: plain + 2 }
    : { at: carriage, next: carriage + 3 };
}

function payloadOf(event: string): string | undefined {
  const lines = event.split("\n").flatMap((line) => /^data: ?(.*?)\r?$/s.exec(line)?.[1] ?? []);
  return lines.length > 0 ? lines.join("\n") : undefined;
}
