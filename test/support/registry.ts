/** The real registry (Debian's docker-registry, distribution 2.8) with its content in a directory. */
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { requirePeer } from "./peers.ts";

/**
 * Starts a registry on `address` that keeps everything under `directory`, and waits until it answers.
 * `start` runs a program, in whatever namespace; the caller stops the child.
 */
export async function startRegistry(
  start: (program: string, args: readonly string[]) => ChildProcessWithoutNullStreams,
  directory: string,
  address: string,
): Promise<ChildProcessWithoutNullStreams> {
  await mkdir(join(directory, "content"), { recursive: true });
  const config = join(directory, "config.yml");
  const content = { filesystem: { rootdirectory: join(directory, "content") } };
  await writeFile(
    config,
    JSON.stringify({ version: 0.1, log: { level: "info" }, storage: content, http: { addr: address } }),
  );
  const child = start(requirePeer("registry"), ["serve", config]);
  let log = "";
  await new Promise<void>((resolve, reject) => {
    const listen = (chunk: Buffer): void => {
      log += chunk.toString();
      if (log.includes("listening on")) resolve();
    };
    child.stderr.on("data", listen);
    child.stdout.on("data", listen);
    child.once("exit", () => reject(new Error(`the registry ended: ${log.slice(-500)}`)));
    setTimeout(() => reject(new Error(`the registry does not start: ${log.slice(-500)}`)), 15_000).unref();
  });
  return child;
}

/** A port of 127.0.0.1 that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const bound = server.address();
      server.close(() => resolve(typeof bound === "object" && bound !== null ? bound.port : 0));
    });
  });
}
