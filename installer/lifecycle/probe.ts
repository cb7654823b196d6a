/** One HTTP question to a service of the site, on an address of this host. */
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { request as httpsRequest } from "node:https";

export interface ProbeTarget {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly tls: boolean;
}

export interface ProbeAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly milliseconds: number;
}

const BODY_MAX_BYTES = 64 * 1024;

/**
 * GET over a connection of its own, so that each question is a new connection through the front. Rejects
 * if there is no whole answer within `withinMs`. The certificate is not checked: what is asked is whether
 * the service works, on an address of this very host; whose certificate it is, is for its clients.
 */
export function probe(target: ProbeTarget, withinMs: number): Promise<ProbeAnswer> {
  const started = performance.now();
  const { host, port, path, tls } = target;
  const options = { host, port, path, agent: false, headers: { connection: "close" } } as const;
  return new Promise((resolve, reject) => {
    const asking = tls ? httpsRequest({ ...options, rejectUnauthorized: false }) : httpRequest(options);
    const timer = setTimeout(() => asking.destroy(new Error(`no answer within ${withinMs} ms`)), withinMs);
    asking.once("error", (cause) => {
      clearTimeout(timer);
      reject(cause);
    });
    asking.once("response", (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
        if (body.length > BODY_MAX_BYTES) asking.destroy(new Error(`more than ${BODY_MAX_BYTES} bytes`));
      });
      response.once("error", reject);
      response.once("end", () => {
        clearTimeout(timer);
        const milliseconds = Math.round(performance.now() - started);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body, milliseconds });
      });
    });
    asking.end();
  });
}
