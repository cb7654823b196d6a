/** Asks a service of the appliance as the front would hand the request on. */
import { once } from "node:events";
import { Agent, type IncomingHttpHeaders, type IncomingMessage, type RequestOptions, request } from "node:http";
import { connect, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A PROXY protocol header (version 2) for a client at `address` (IPv4) and `port`. */
export function proxyHeader(address = "192.0.2.7", port = 40_000): Buffer {
  const header = Buffer.alloc(28);
  header.write("\r\n\r\n\0\r\nQUIT\n", "latin1");
  header.writeUInt16BE(0x2111, 12);
  header.writeUInt16BE(12, 14);
  Buffer.from(address.split(".").map(Number)).copy(header, 16);
  Buffer.from([192, 0, 2, 1]).copy(header, 20);
  header.writeUInt16BE(port, 24);
  header.writeUInt16BE(8443, 26);
  return header;
}

export interface FrontOptions {
  readonly address?: string;
  /** PEM of the authority that the server's certificate must come from; without it no TLS. */
  readonly ca?: string;
  readonly tls?: ConnectionOptions;
}

/** A connection as the front makes one. */
export function connectAsFront(port: number, { address, ca, tls }: FrontOptions = {}): Socket | TLSSocket {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.write(proxyHeader(address));
  return ca === undefined ? socket : connectTls({ socket, ca, servername: "localhost", ...tls });
}

/** For `http.request`, whatever its host is. */
export function frontAgent(port: number, options: FrontOptions = {}): Agent {
  const agent = new Agent();
  agent.createConnection = () => connectAsFront(port, options);
  return agent;
}

export interface Question extends RequestOptions {
  readonly body?: string | Buffer;
}

/** One request on its own connection unless `agent` says otherwise; JSON if there is a body. */
export async function ask(port: number, path: string, { body, ...options }: Question = {}): Promise<Answer> {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const headers = { ...json, ...(options.headers as Record<string, string>) };
  const method = body === undefined ? "GET" : "POST";
  const sent = request({ host: "127.0.0.1", port, path, method, agent: false, ...options, headers });
  sent.end(body);
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return { status: response.statusCode ?? 0, headers: response.headers, body: await textOf(response) };
}

/** As the front hands it on. */
export function askAsFront(port: number, path: string, question: Question & FrontOptions = {}): Promise<Answer> {
  const { address, ca, tls, ...rest } = question;
  const front = { ...(address && { address }), ...(ca && { ca }), ...(tls && { tls }) };
  return ask(port, path, { agent: frontAgent(port, front), ...rest });
}

export async function textOf(stream: AsyncIterable<unknown>): Promise<string> {
  let text = "";
  for await (const piece of stream) text += piece;
  return text;
}
