/** What answers at a socket as an engine would that has these containers, images and volumes, and nothing else. */
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Engine } from "../../compose/engine/engine.ts";
import { scratch } from "./scratch.ts";

export interface FakeEngineContent {
  /** As `GET /containers/json` has them. */
  readonly containers?: readonly {
    readonly Id?: string;
    readonly Image?: string;
    readonly Names: readonly string[];
    readonly Labels: Readonly<Record<string, string>>;
  }[];
  /** By every name that they have, as `GET /images/{name}/json` has them. */
  readonly images?: ReadonlyMap<string, object>;
  /** Told the name of each image that is removed; those that containers use are not. */
  readonly onRemoved?: (image: string) => void;
  /** Names of images that a container uses. */
  readonly usedImages?: readonly string[];
  /** By its Id, as `GET /containers/{id}/json` has it. */
  readonly inspected?: ReadonlyMap<string, object>;
  /** As `GET /info` has it. */
  readonly info?: object;
  /** What `docker logs` says of every container. */
  readonly log?: string;
  readonly mountpoints?: readonly string[];
  /** On whose file system it says it keeps images. */
  readonly rootDirectory?: string;
}

/** Ends with the test. There is no Compose, and a docker client only for `log`. */
export async function fakeEngine(t: Pick<TestContext, "after">, content: FakeEngineContent): Promise<Engine> {
  const { containers = [], images = new Map(), mountpoints = [], rootDirectory = "/" } = content;
  const { inspected = new Map(), info, log, onRemoved, usedImages = [] } = content;
  const directory = await scratch(t as TestContext);
  const gone = new Set<string>();
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://engine");
    const [, image] = /\/images\/(.+)\/json$/.exec(decodeURIComponent(pathname)) ?? [];
    if (request.method === "DELETE") {
      const [, removed = ""] = /\/images\/(.+)$/.exec(decodeURIComponent(pathname)) ?? [];
      const isThere = images.has(removed) && !gone.has(removed);
      const status = usedImages.includes(removed) ? 409 : isThere ? 200 : 404;
      if (status === 200) {
        gone.add(removed);
        onRemoved?.(removed);
      }
      response.writeHead(status, { "content-type": "application/json" }).end("[]");
      return;
    }
    const [, id] = /\/containers\/([^/]+)\/json$/.exec(pathname) ?? [];
    let answer: unknown;
    if (pathname.endsWith("/containers/json")) {
      const { label = [] } = JSON.parse(searchParams.get("filters") ?? "{}") as { label?: readonly string[] };
      const wanted = label.map((one) => one.split("=") as [string, string]);
      answer = containers.filter(({ Labels }) => wanted.every(([name, value]) => Labels[name] === value));
    } else if (pathname.endsWith("/volumes")) answer = { Volumes: mountpoints.map((Mountpoint) => ({ Mountpoint })) };
    else if (pathname.endsWith("/info")) answer = info;
    else if (pathname.endsWith("/images/json")) {
      const names = [...images.keys()].filter((name) => name.includes("@") && !gone.has(name));
      answer = names.map((name) => ({ Id: name.split("@")[1], RepoDigests: [name] }));
    } else if (id !== undefined) answer = inspected.get(id);
    else if (image !== undefined) answer = images.get(image);
    response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(answer ?? { message: "no such thing" }));
  });
  const socketPath = join(directory, "engine.sock");
  server.listen(socketPath);
  await once(server, "listening");
  t.after(() => void server.close());
  const nowhere = join(directory, "nowhere");
  const dockerPath = log === undefined ? nowhere : join(directory, "docker");
  if (log !== undefined) {
    await writeFile(join(directory, "log"), log);
    await writeFile(dockerPath, `#!/bin/sh\nexec /bin/cat ${join(directory, "log")}\n`, { mode: 0o755 });
  }
  return {
    socketPath,
    dockerPath,
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
