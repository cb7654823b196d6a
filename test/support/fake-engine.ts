/** What answers at a socket as an engine would that has these containers, images and volumes, and nothing else. */
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Engine } from "../../compose/engine/engine.ts";
import { scratch } from "./scratch.ts";

export interface FakeEngineContent {
  /** As `GET /containers/json` has them. */
  readonly containers?: readonly {
    readonly Names: readonly string[];
    readonly Labels: Readonly<Record<string, string>>;
  }[];
  /** By every name that they have, as `GET /images/{name}/json` has them. */
  readonly images?: ReadonlyMap<string, object>;
  readonly mountpoints?: readonly string[];
  /** On whose file system it says it keeps images. */
  readonly rootDirectory?: string;
}

/** Ends with the test. There is no docker client and no Compose. */
export async function fakeEngine(t: Pick<TestContext, "after">, content: FakeEngineContent): Promise<Engine> {
  const { containers = [], images = new Map(), mountpoints = [], rootDirectory = "/" } = content;
  const directory = await scratch(t as TestContext);
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://engine");
    const [, image] = /\/images\/(.+)\/json$/.exec(decodeURIComponent(pathname)) ?? [];
    let answer: unknown;
    if (pathname.endsWith("/containers/json")) {
      const { label = [] } = JSON.parse(searchParams.get("filters") ?? "{}") as { label?: readonly string[] };
      const wanted = label.map((one) => one.split("=") as [string, string]);
      answer = containers.filter(({ Labels }) => wanted.every(([name, value]) => Labels[name] === value));
    } else if (pathname.endsWith("/volumes")) answer = { Volumes: mountpoints.map((Mountpoint) => ({ Mountpoint })) };
    else if (image !== undefined) answer = images.get(image);
    response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(answer ?? { message: "no such thing" }));
  });
  const socketPath = join(directory, "engine.sock");
  server.listen(socketPath);
  await once(server, "listening");
  t.after(() => void server.close());
  const nowhere = join(directory, "nowhere");
  return {
    socketPath,
    dockerPath: nowhere,
    composePath: nowhere,
    configDirectory: directory,
    facts: {
      version: "26.1.5",
      apiVersion: "1.45",
      store: "containerd",
      storageDriver: "overlayfs",
      architecture: "amd64",
      cgroupVersion: "2",
      rootDirectory,
      engineId: "fake",
    },
  };
}
