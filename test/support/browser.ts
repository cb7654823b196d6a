/** A real browser without a window (peer `chromium`), driven over its DevTools pipe. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import type { TestContext } from "node:test";
import { requirePeer } from "./peers.ts";
import { scratch } from "./scratch.ts";

type Json = Readonly<Record<string, unknown>>;

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Json;
  readonly result?: Json;
  readonly error?: { readonly message: string };
}

/** One page of a browser that ends with the test. */
export class Page {
  readonly #commands: Writable;
  readonly #waiting = new Map<number, (message: Message) => void>();
  #session: string | undefined;
  #ids = 0;
  /** Every event so far. */
  readonly events: Message[] = [];

  private constructor(commands: Writable, answers: Readable) {
    this.#commands = commands;
    let rest = "";
    answers.setEncoding("utf8").on("data", (chunk: string) => {
      const messages = (rest + chunk).split("\0");
      rest = messages.pop() ?? "";
      for (const text of messages) this.#take(JSON.parse(text) as Message);
    });
  }

  #take(message: Message): void {
    if (message.id === undefined) this.events.push(message);
    else this.#waiting.get(message.id)?.(message);
  }

  static async open(t: TestContext): Promise<Page> {
    const home = await scratch(t);
    const fonts = join(requirePeer("chromium"), "../../chromium/usr/share/fonts");
    const settings = join(home, "fonts.conf");
    writeFileSync(settings, `<fontconfig><dir>${fonts}</dir><cachedir>${join(home, "fonts")}</cachedir></fontconfig>`);
    mkdirSync(join(home, "profile"));
    const options = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"];
    const child = spawn(
      requirePeer("chromium"),
      [...options, `--user-data-dir=${join(home, "profile")}`, "about:blank"],
      {
        stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
        env: { PATH: process.env["PATH"], HOME: home, FONTCONFIG_FILE: settings },
      },
    );
    t.after(async () => {
      const ended = once(child, "exit");
      child.kill();
      await ended;
    });
    const page = new Page(child.stdio[3] as Writable, child.stdio[4] as Readable);
    const { targetId } = await page.send("Target.createTarget", { url: "about:blank", width: 1200, height: 1600 });
    const { sessionId } = await page.send("Target.attachToTarget", { targetId, flatten: true });
    page.#session = sessionId as string;
    return page;
  }

  async send(method: string, params: Json = {}): Promise<Json> {
    this.#ids += 1;
    const id = this.#ids;
    const session = this.#session === undefined ? {} : { sessionId: this.#session };
    const answer = new Promise<Message>((resolve) => this.#waiting.set(id, resolve));
    this.#commands.write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    const { result, error } = await answer;
    this.#waiting.delete(id);
    if (error) throw new Error(`${method}: ${error.message}`);
    return result ?? {};
  }

  /** Loads `url` and waits until it is there. */
  async go(url: string): Promise<void> {
    await this.send("Page.enable");
    const before = this.events.length;
    await this.send("Page.navigate", { url });
    while (!this.events.slice(before).some(({ method }) => method === "Page.loadEventFired")) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** The value of an expression in the page, also where its own scripts are off. */
  async value(expression: string): Promise<unknown> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, returnByValue: true });
    if (exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return (result as { value?: unknown }).value;
  }

  async screenshot(path: string): Promise<void> {
    const { data } = await this.send("Page.captureScreenshot", { format: "png", captureBeyondViewport: true });
    writeFileSync(path, Buffer.from(String(data), "base64"));
  }
}
