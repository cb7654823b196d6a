/** What compose/render.ts renders, on a real engine: who reaches whom, and what an unchanged base goes through. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { type ComposeTemplate, composeProblems } from "../../bundles/model/compose-template.ts";
import { composeCall, dockerCall } from "../../compose/engine/engine.ts";
import { type LoadedImage, loadImages } from "../../compose/engine/load-images.ts";
import { type ComposeProject, proveContainers } from "../../compose/engine/prove-containers.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import {
  type Colour,
  type RenderedProject,
  type RenderInput,
  renderRehearsal,
  renderSite,
} from "../../compose/render.ts";
import { directory as entry, file, layer } from "../support/layer-tar.ts";
import { inOwnMachine, type OwnEngine, startOwnEngine } from "../support/own-engine.ts";
import { peerFile } from "../support/peers.ts";
import { scratch } from "../support/scratch.ts";
import { bundleFiles, type SmallRelease, smallRelease, smallRules, writeDirectory } from "../support/small-bundle.ts";

const SITE = "feedc0de00000000feedc0de00000000";
const ASK = ["/bin/busybox", "wget", "-q", "-O", "-"];

/** `front` and `database` in base, `web` in each colour, a task. All are busybox. */
function template(references: ReadonlyMap<string, string>): ComposeTemplate {
  const hardened = {
    image: references.get("box") ?? "",
    read_only: true,
    cap_drop: ["ALL"],
    security_opt: ["no-new-privileges:true"],
    mem_limit: "64m",
    pids_limit: 50,
    logging: { driver: "local" },
    stop_grace_period: "1s",
    command: ["sleep", "100000"],
  };
  const rules = smallRules("web");
  return {
    "x-sealift": {
      ...rules,
      base: ["front", "database"],
      tasks: { migrate: "migrate" },
      database: { service: "database", names: ["site"] },
      secrets: [{ kind: "password", files: { "web/password": 10001 } }],
    },
    services: {
      front: {
        ...hardened,
        networks: ["core", "edge"],
        ports: ["127.0.0.1:${SEALIFT_CLIENT_PORT}:8080"],
        volumes: [{ type: "bind", source: "${SEALIFT_SWITCH}", target: "/etc/switch", read_only: true }],
      },
      database: { ...hardened, networks: ["db"], volumes: ["data:/data"] },
      web: {
        ...hardened,
        command: ["httpd", "-f", "-p", "8080", "-h", "/www"],
        networks: ["core", "db"],
        environment: { RELEASE: "${SEALIFT_RELEASE}", PRICE: "5$$" },
        depends_on: { database: { condition: "service_started" } },
        secrets: ["password"],
      },
      alone: { ...hardened },
      migrate: { ...hardened, command: ["echo", "${SEALIFT_RELEASE}"], networks: ["db"], depends_on: ["database"] },
    },
    networks: { core: { internal: true }, db: { internal: true }, edge: {} },
    volumes: { data: {} },
    secrets: { password: { file: "${SEALIFT_SECRETS}/web/password" } },
  };
}

async function smallSet(): Promise<SmallRelease> {
  const tar = layer(
    ...[entry("bin"), file("bin/busybox", await readFile(peerFile("busybox")), 0o755)],
    ...[entry("etc"), file("etc/os-release", "ID=debian\n"), entry("www"), file("www/index.html", "here\n")],
  );
  const config = (plain: Readonly<Record<string, unknown>>) => ({
    ...plain,
    config: { User: "10001:10001", Env: ["PATH=/bin"], Entrypoint: ["/bin/busybox"] },
  });
  return smallRelease({ images: [{ name: "box", layers: [tar], config }] });
}

inOwnMachine(import.meta.url, "rendered projects on an engine", () => {
  describe("a site", { timeout: 240_000 }, () => {
    const cleanups: (() => Promise<void>)[] = [];
    const context = { after: (work: () => Promise<void>) => void cleanups.unshift(work) };
    let directory = "";
    let small: SmallRelease;
    let dockerd: OwnEngine;
    let images: ReadonlyMap<string, LoadedImage>;

    const docker = async (...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await runCall(dockerCall(dockerd.engine, args), { timeoutMs: 60_000 });
      assert.equal(status, 0, stderr);
      return stdout.trim();
    };
    const input = (version: string, colour: Colour): RenderInput => ({
      template: template(
        new Map([...images.values()].map(({ name, reference }) => [name, reference.split("/")[2] ?? ""])),
      ),
      appliance: "demo",
      version,
      release: small.release.descriptor.digest,
      siteId: SITE,
      colour,
      secretsDirectory: join(directory, "secrets"),
      switchDirectory: join(directory, "switch"),
      files: {},
      config: { clientPort: 18_080 },
    });
    const compose = async (rendered: RenderedProject, ...args: string[]): Promise<string> => {
      const call = composeCall(dockerd.engine, projectOf(rendered), args);
      const { status, stdout, stderr } = await runCall(call, { timeoutMs: 120_000 });
      assert.equal(status, 0, stderr);
      return stdout.trim();
    };
    const projectOf = (rendered: RenderedProject): ComposeProject => {
      const path = join(directory, `${rendered.name}.json`);
      writeFileSync(path, rendered.bytes);
      return { name: rendered.name, file: path, directory };
    };
    const up = async (rendered: RenderedProject): Promise<void> => {
      await compose(rendered, "up", "--detach", "--wait", "--wait-timeout", "60", "--no-build", "--pull", "never");
      await proveContainers(dockerd.engine, projectOf(rendered), images);
    };
    const ask = (container: string, host: string): Promise<string> =>
      docker("exec", container, ...ASK, `http://${host}:8080/index.html`);
    const running = async (): Promise<string[]> =>
      (await docker("ps", "--format", "{{.Names}}", "--filter", `label=sealift.site=${SITE}`)).split("\n").sort();

    before(async () => {
      directory = await scratch(context);
      mkdirSync(join(directory, "secrets/web"), { recursive: true });
      mkdirSync(join(directory, "switch"));
      writeFileSync(join(directory, "secrets/web/password"), "secret", { mode: 0o444 });
      writeFileSync(join(directory, "switch/active.map"), "active blue\n");
      small = await smallSet();
      dockerd = await startOwnEngine(directory, { store: "classic" });
      context.after(() => dockerd.stop());
      const path = await scratch(context);
      await writeDirectory(path, bundleFiles(small));
      const { layout, store } = openLayout(path);
      try {
        const loaded = await loadImages(dockerd.engine, layout, readRelease(layout, readLayoutIndex(layout).release));
        images = new Map(loaded.map((one) => [one.reference, one]));
      } finally {
        closeStore(store);
      }
    });
    after(async () => {
      for (const work of cleanups) await work();
    });

    it("is of a template that verify lets pass", () => {
      const pinned = new Map(
        [...images.values()].map(({ name, reference }) => [name, reference.split("@")[1] as never]),
      );
      const configSchema = { properties: { clientPort: {} } };
      assert.deepEqual(
        composeProblems(input("1.0.0", "blue").template, { images: pinned, files: [], configSchema }),
        [],
      );
    });

    it("runs base first, then both colours beside each other, without the task", async () => {
      await up(renderSite(input("1.0.0", "blue")).base);
      await up(renderSite(input("1.0.0", "blue")).colour);
      await up(renderSite(input("1.1.0", "green")).colour);
      const colours = ["blue", "green"].flatMap((colour) => [`${colour}-alone-1`, `${colour}-web-1`]);
      const names = ["base-database-1", "base-front-1", ...colours].map((name) => `sealift-feedc0de-${name}`);
      assert.deepEqual(await running(), names);
    });

    it("lets the front reach each colour by its own name, and a service without networks nobody", async () => {
      for (const colour of ["blue", "green"])
        assert.equal(await ask("sealift-feedc0de-base-front-1", `web-${colour}`), "here");
      await assert.rejects(ask("sealift-feedc0de-blue-alone-1", "web-blue"));
      assert.equal(
        await docker("exec", "sealift-feedc0de-base-front-1", "/bin/busybox", "cat", "/etc/switch/active.map"),
        "active blue",
      );
    });

    it("gives containers the release, a dollar and their secret", async () => {
      const inside = (...args: string[]) => docker("exec", "sealift-feedc0de-green-web-1", "/bin/busybox", ...args);
      assert.match(await inside("env"), /^RELEASE=1\.1\.0$/m);
      assert.match(await inside("env"), /^PRICE=5\$$/m);
      assert.equal(await inside("cat", "/run/secrets/password"), "secret");
    });

    it("leaves an unchanged base alone when the next release goes up", async () => {
      const started = () =>
        docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", "sealift-feedc0de-base-front-1");
      const before = await started();
      await up(renderSite(input("1.1.0", "green")).base);
      assert.equal(await started(), before);
    });

    it("runs the task when asked, and only then", async () => {
      const { colour } = renderSite(input("1.1.0", "green"));
      assert.equal(await compose(colour, "run", "--rm", "--no-deps", "-T", "migrate"), "1.1.0");
    });

    it("rehearses beside the site: the next release's task reaches the copy, and the copy not the site", async () => {
      const { services, migrate } = renderRehearsal(input("1.0.0", "blue"), input("1.1.0", "green"));
      await up(services);
      assert.ok(migrate);
      const ran = await compose(
        migrate,
        "run",
        "--rm",
        "--no-deps",
        "-T",
        "--entrypoint",
        "/bin/busybox",
        "migrate",
        ...ASK.slice(1),
        "http://web:8080/index.html",
      );
      assert.equal(ran, "here");
      assert.equal(await ask("sealift-feedc0de-rehearsal-web-1", "web"), "here");
      await assert.rejects(
        ask("sealift-feedc0de-rehearsal-web-1", "web-blue"),
        "the site's own names are out of reach",
      );
      await compose(services, "down", "--volumes");
      assert.equal((await running()).length, 6);
      const volumes = await docker("volume", "ls", "--format", "{{.Name}}", "--filter", `label=sealift.site=${SITE}`);
      assert.equal(volumes, "sealift-feedc0de-base_data");
    });

    it("takes the old colour away without the base", async () => {
      await compose(renderSite(input("1.0.0", "blue")).colour, "down");
      assert.deepEqual(
        (await running()).filter((name) => name.includes("blue")),
        [],
      );
      assert.equal(await ask("sealift-feedc0de-base-front-1", "web-green"), "here");
    });
  });
});
