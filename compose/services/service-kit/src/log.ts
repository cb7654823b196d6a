/**
 * One JSON object a line on stdout: what happened, when, to which request. Never what somebody wrote:
 * no path, no header, no body. A caller names an event and gives plain facts about it.
 */
export type LogLevel = "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;
export type Log = (level: LogLevel, event: string, fields?: LogFields) => void;

/** `write` gets each line with its newline; it must not throw. */
export function createLog(service: string, write: (line: string) => void): Log {
  return (level, event, fields = {}) => {
    write(`${JSON.stringify({ time: new Date().toISOString(), level, service, event, ...fields })}\n`);
  };
}

/** The code of a failure, for a log: messages of drivers and of the system may hold addresses and content. */
export function errorCode(cause: unknown): string {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  return typeof code === "string" ? code : cause instanceof Error ? cause.name : typeof cause;
}
