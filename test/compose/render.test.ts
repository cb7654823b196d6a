import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { parse } from "yaml";
import { type ComposeTemplate, composeProblems } from "../../bundles/model/compose-template.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { composeCall } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import {
  projectName,
  type RenderedProject,
  type RenderInput,
  renderRehearsal,
  renderSite,
} from "../../compose/render.ts";
import { scratch } from "../support/scratch.ts";

const SITE = "0123456789abcdef0123456789abcdef";
const PLUGINS = ["/usr/libexec/docker/cli-plugins/docker-compose", "/usr/lib/docker/cli-plugins/docker-compose"];
const plugin = PLUGINS.find((path) => existsSync(path));

interface Service {
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly networks?: Readonly<Record<string, { readonly aliases?: readonly string[] }>>;
  readonly [member: string]: unknown;
}
interface Project {
  readonly name: string;
  readonly services: Readonly<Record<string, Service>>;
  readonly networks?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly volumes?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly secrets?: Readonly<Record<string, unknown>>;
}

const projectOf = ({ bytes }: RenderedProject): Project => JSON.parse(bytes.toString("utf8"));
const text = ({ bytes }: RenderedProject): string => bytes.toString("utf8");

/** A template with everything that rendering treats in its own way. */
function example(version = "1.0.0"): ComposeTemplate {
  const image = (name: string, of = version) => `${name}@${digestOf(`${name} ${of}`)}`;
  return {
    "x-sealift": {
      base: ["front", "postgres"],
      tasks: { migrate: "migrate" },
      front: { service: "front", target: "gateway" },
      database: { service: "postgres", names: ["gateway"] },
      canary: { service: "gateway", port: 8081, path: "/readyz", withinMs: 30_000 },
      drainSeconds: 60,
      secrets: [{ kind: "password", files: { "gateway/password": 10001, "postgres/password": 10070 } }],
    },
    services: {
      front: {
        image: image("front", "same"),
        networks: ["core", "edge"],
        ports: ["${SEALIFT_CLIENT_ADDRESS}:8080:8080"],
        volumes: [{ type: "bind", source: "${SEALIFT_SWITCH}", target: "/switch", read_only: true }],
      },
      gateway: {
        image: image("gateway"),
        networks: ["core", "model", "db"],
        environment: {
          RELEASE: "${SEALIFT_RELEASE}",
          COLOUR: "${SEALIFT_COLOUR}",
          PRICE: "5$$",
          NOTE: "${SEALIFT_NOTE}",
        },
        secrets: ["gateway-password"],
        volumes: [
          "spool:/spool",
          { type: "bind", source: "${SEALIFT_FILE_SMALL_MODEL}", target: "/model", read_only: true },
        ],
        depends_on: { postgres: { condition: "service_healthy" }, pii: { condition: "service_healthy" } },
        labels: { "org.example": "yes" },
      },
      pii: { image: image("pii"), networks: ["model"], depends_on: ["postgres"] },
      postgres: {
        image: image("postgres", "same"),
        networks: ["db"],
        volumes: ["postgres:/var/lib/postgresql"],
        secrets: [{ source: "postgres-password", target: "/run/secrets/p" }],
      },
      migrate: {
        image: image("gateway"),
        networks: ["db"],
        secrets: ["gateway-password"],
        restart: "unless-stopped",
        depends_on: ["postgres"],
      },
    },
    networks: { core: { internal: true }, edge: {}, model: {}, db: { internal: true } },
    volumes: { postgres: {}, spool: {} },
    secrets: {
      "gateway-password": { file: "${SEALIFT_SECRETS}/gateway/password" },
      "postgres-password": { file: "${SEALIFT_SECRETS}/postgres/password" },
    },
  };
}

function input(changes: Partial<RenderInput> = {}): RenderInput {
  return {
    template: example(),
    appliance: "demo",
    version: "1.0.0",
    release: digestOf("release 1"),
    siteId: SITE,
    colour: "blue",
    secretsDirectory: "/state/secrets",
    switchDirectory: "/state/switch",
    files: { "small-model": "/state/store/aa/blobs/sha256/bb" },
    config: { clientAddress: "127.0.0.1", note: "a $ sign and ${HOME}" },
    ...changes,
  };
}

const next = (changes: Partial<RenderInput> = {}): RenderInput =>
  input({ template: example("1.1.0"), version: "1.1.0", release: digestOf("release 2"), colour: "green", ...changes });

test("the template of these tests is one that verify lets pass", () => {
  const template = example();
  const images = new Map(
    Object.values(template.services).map(({ image }) => image.split("@") as [string, ReturnType<typeof digestOf>]),
  );
  const configSchema = { properties: { clientAddress: {}, note: {} } };
  assert.deepEqual(composeProblems(template, { images, files: ["small-model"], configSchema }), []);
});

test("a project's name holds the site's first eight digits", () => {
  assert.equal(projectName(SITE, "base"), "sealift-01234567-base");
  assert.equal(projectName(SITE, "rehearsal-next"), "sealift-01234567-rehearsal-next");
});

test("each service is in one project; tasks are in the colour's, where up does not start them", () => {
  const { base, colour } = renderSite(input());
  assert.deepEqual(Object.keys(projectOf(base).services), ["front", "postgres"]);
  const { services } = projectOf(colour);
  assert.deepEqual(Object.keys(services), ["gateway", "migrate", "pii"]);
  assert.deepEqual(services["migrate"]?.["profiles"], ["task"]);
  assert.equal(services["migrate"]?.["restart"], "no");
  assert.equal(services["gateway"]?.["profiles"], undefined);
});

test("variables are filled in, and what was a dollar stays one for Compose", () => {
  const { base, colour } = renderSite(input());
  const gateway = projectOf(colour).services["gateway"];
  assert.deepEqual(gateway?.["environment"], {
    RELEASE: "1.0.0",
    COLOUR: "blue",
    PRICE: "5$$",
    NOTE: "a $$ sign and $${HOME}",
  });
  assert.deepEqual(projectOf(base).services["front"]?.["ports"], ["127.0.0.1:8080:8080"]);
  assert.deepEqual(projectOf(base).secrets, { "postgres-password": { file: "/state/secrets/postgres/password" } });
});

test("a setting that is no string is written as JSON", () => {
  const { colour } = renderSite(input({ config: { clientAddress: "::1", note: { b: 1, a: [true] } } }));
  const environment = projectOf(colour).services["gateway"]?.["environment"] as Record<string, string>;
  assert.equal(environment["NOTE"], '{"a":[true],"b":1}');
});

test("a setting, or a carried file, without a value is an error that names it", () => {
  for (const changes of [{ config: { clientAddress: "127.0.0.1" } }, { files: {} }]) {
    assert.throws(
      () => renderSite(input(changes)),
      (error: unknown) =>
        error instanceof SealiftError &&
        error.code === "COMPOSE_VARIABLE_UNSET" &&
        /SEALIFT_(?:NOTE|FILE_SMALL_MODEL)/.test(error.message),
    );
  }
});

test("bind mounts never make what is not there", () => {
  const { base, colour } = renderSite(input());
  const bind = { create_host_path: false };
  assert.deepEqual(projectOf(base).services["front"]?.["volumes"], [
    { type: "bind", source: "/state/switch", target: "/switch", read_only: true, bind },
  ]);
  assert.deepEqual(projectOf(colour).services["gateway"]?.["volumes"], [
    "spool:/spool",
    { type: "bind", source: "/state/store/aa/blobs/sha256/bb", target: "/model", read_only: true, bind },
  ]);
});

test("what base uses is base's own, and external to a colour; the rest is the colour's", () => {
  const { base, colour } = renderSite(input());
  const labels = { "sealift.site": SITE };
  assert.deepEqual(projectOf(base).networks, {
    core: { internal: true, name: "sealift-01234567-base_core", labels },
    db: { internal: true, name: "sealift-01234567-base_db", labels },
    edge: { name: "sealift-01234567-base_edge", labels },
  });
  assert.deepEqual(projectOf(base).volumes, { postgres: { name: "sealift-01234567-base_postgres", labels } });
  assert.deepEqual(projectOf(colour).networks, {
    core: { external: true, name: "sealift-01234567-base_core" },
    db: { external: true, name: "sealift-01234567-base_db" },
    model: { name: "sealift-01234567-blue_model", labels },
  });
  assert.deepEqual(projectOf(colour).volumes, { spool: { name: "sealift-01234567-blue_spool", labels } });
});

test("a colour's service has its colour's name on base's networks only", () => {
  const { gateway, pii } = projectOf(renderSite(input({ colour: "green" })).colour).services;
  assert.deepEqual(gateway?.networks, {
    core: { aliases: ["gateway-green"] },
    db: { aliases: ["gateway-green"] },
    model: {},
  });
  assert.deepEqual(pii?.networks, { model: {} });
});

test("a service without networks has none, rather than one that leads out", () => {
  const template = example();
  const { networks: _, ...pii } = template.services["pii"] as Service;
  const { colour } = renderSite(input({ template: { ...template, services: { ...template.services, pii } } }));
  assert.equal(projectOf(colour).services["pii"]?.["network_mode"], "none");
  assert.equal(projectOf(colour).services["pii"]?.networks, undefined);
});

test("no service asks a name server of the host, or any outside its container", () => {
  const { base, colour } = renderSite(input());
  const { services, migrate } = renderRehearsal(input(), input());
  for (const project of [base, colour, services, migrate as RenderedProject]) {
    for (const [name, { dns, network_mode }] of Object.entries(projectOf(project).services)) {
      assert.ok(network_mode === "none" || /^127\.[\d.]+$/.test(String(dns)), name);
    }
  }
});

test("a service waits for those of its own project only", () => {
  const { services } = projectOf(renderSite(input()).colour);
  assert.deepEqual(services["gateway"]?.["depends_on"], { pii: { condition: "service_healthy" } });
  assert.equal(services["pii"]?.["depends_on"], undefined);
  assert.equal(services["migrate"]?.["depends_on"], undefined);
});

test("every service says its site, a colour's also its release and colour, and keeps its own labels", () => {
  const { base, colour } = renderSite(input());
  for (const { labels } of Object.values(projectOf(base).services)) assert.deepEqual(labels, { "sealift.site": SITE });
  const own = { "sealift.site": SITE, "sealift.release": digestOf("release 1"), "sealift.colour": "blue" };
  const { gateway, pii } = projectOf(colour).services;
  assert.deepEqual(gateway?.labels, { ...own, "org.example": "yes" });
  assert.deepEqual(pii?.labels, own);
});

const everyProject = (): RenderedProject[] => {
  const { base, colour } = renderSite(input());
  const { services, migrate } = renderRehearsal(input(), next());
  assert.ok(migrate);
  return [base, colour, renderSite(next()).base, renderSite(next()).colour, services, migrate];
};

test("nothing rendered holds a variable or the rules, and every image is a digest at Sealift's endpoint", () => {
  for (const project of everyProject()) {
    assert.doesNotMatch(text(project).replaceAll("$$", ""), /\$|x-sealift/);
    for (const { image } of Object.values(projectOf(project).services)) {
      assert.match(image, /^127\.83\.76\.1:5000\/demo\/[a-z]+@sha256:[0-9a-f]{64}$/);
    }
  }
});

test("a base that no release changed has the same bytes, and says nothing of release or colour", () => {
  const [first, second] = [renderSite(input()).base, renderSite(next()).base];
  assert.deepEqual(first, second);
  assert.doesNotMatch(text(second), /1\.[01]\.0|blue|green/);
  assert.ok(!text(second).includes(digestOf("release 2")));
  const changed = renderSite(next({ config: { clientAddress: "127.0.0.2", note: "" } })).base;
  assert.notDeepEqual(changed, first);
});

test("the two colours of a release differ in names, aliases, labels and the colour variable only", () => {
  const [blue, green] = [renderSite(input()).colour, renderSite(input({ colour: "green" })).colour];
  assert.notEqual(text(blue), text(green));
  assert.equal(text(blue).replaceAll("blue", "green"), text(green));
});

test("the same input in another order of members gives the same bytes", () => {
  const template = example();
  const reversed = { ...template, services: Object.fromEntries(Object.entries(template.services).reverse()) };
  assert.deepEqual(renderSite(input({ template: reversed })), renderSite(input()));
});

test("a rehearsal is everything but the front, without ports, on networks that lead nowhere", () => {
  const { services, migrate } = renderRehearsal(input(), next());
  assert.equal(services.name, "sealift-01234567-rehearsal");
  const old = projectOf(services);
  assert.deepEqual(Object.keys(old.services), ["gateway", "pii", "postgres"]);
  assert.doesNotMatch(text(services), /"ports"|external|-base|switch/);
  for (const network of Object.values(old.networks ?? {})) assert.equal(network["internal"], true);
  assert.deepEqual(old.services["gateway"]?.["depends_on"], {
    postgres: { condition: "service_healthy" },
    pii: { condition: "service_healthy" },
  });
  assert.ok(migrate);
  assert.equal(migrate.name, "sealift-01234567-rehearsal-next");
  const task = projectOf(migrate);
  assert.deepEqual(Object.keys(task.services), ["migrate"]);
  assert.equal(task.services["migrate"]?.image.endsWith(digestOf("gateway 1.1.0")), true);
  assert.deepEqual(task.networks, { db: { external: true, name: "sealift-01234567-rehearsal_db" } });
});

test("a rehearsal's volumes are its own: none of the site's", () => {
  const { services } = renderRehearsal(input(), next());
  const names = Object.values(projectOf(services).volumes ?? {}).map(({ name }) => name);
  assert.deepEqual(names, ["sealift-01234567-rehearsal_postgres", "sealift-01234567-rehearsal_spool"]);
});

test("a network that only the next release has is made for its migration", () => {
  const template = example("1.1.0");
  const migrate = { ...(template.services["migrate"] as Service), networks: ["db", "extra"] };
  const changed = {
    ...template,
    services: { ...template.services, migrate },
    networks: { ...template.networks, extra: {} },
  } as unknown as ComposeTemplate;
  const rehearsal = renderRehearsal(input(), next({ template: changed }));
  assert.deepEqual(projectOf(rehearsal.migrate as RenderedProject).networks?.["extra"], {
    internal: true,
    name: "sealift-01234567-rehearsal-next_extra",
    labels: { "sealift.site": SITE },
  });
});

test("a release without a migration has none to rehearse", () => {
  const template = example("1.1.0");
  const rules = { ...template["x-sealift"], tasks: {} };
  const { migrate: _, ...services } = template.services;
  const rehearsal = renderRehearsal(input(), next({ template: { ...template, services, "x-sealift": rules } }));
  assert.equal(rehearsal.migrate, undefined);
});

test("the appliance that Sealift ships with passes, and is rendered whole", async () => {
  const read = (path: string) => readFile(new URL(`../../compose/${path}`, import.meta.url), "utf8");
  const template = parse(await read("compose.yaml")) as ComposeTemplate;
  const configSchema = JSON.parse(await read("config.schema.json")) as {
    readonly properties: Readonly<Record<string, { readonly default: unknown }>>;
  };
  const carried = Object.keys((parse(await read("appliance.yaml")) as { readonly files?: object }).files ?? {});
  const images = new Map<string, ReturnType<typeof digestOf>>();
  const services = Object.fromEntries(
    Object.entries(template.services).map(([name, service]) => {
      images.set(service.image, digestOf(service.image));
      return [name, { ...service, image: `${service.image}@${digestOf(service.image)}` }];
    }),
  );
  const pinned = { ...template, services };
  assert.deepEqual(composeProblems(pinned, { images, files: carried, configSchema }), []);
  const config = Object.fromEntries(Object.entries(configSchema.properties).map(([name, one]) => [name, one.default]));
  const files = Object.fromEntries(carried.map((name) => [name, `/state/${name}`]));
  const { base, colour } = renderSite(input({ template: pinned, config, files }));
  const rendered = [base, colour].flatMap((project) => Object.keys(projectOf(project).services));
  assert.deepEqual(rendered.sort(), Object.keys(template.services).sort());
});

test("Compose itself reads every rendered file, and adds nothing to it", {
  skip: plugin ? false : "no Compose plugin on this machine",
}, async (t) => {
  const directory = await scratch(t);
  for (const project of everyProject()) {
    const file = join(directory, `${project.name}.json`);
    await writeFile(file, project.bytes);
    const tools = {
      socketPath: join(directory, "no-engine"),
      dockerPath: "/nonexistent",
      composePath: plugin as string,
      configDirectory: directory,
    };
    const args = ["--profile", "task", "config", "--format", "json"];
    const call = composeCall(tools, { name: project.name, file, directory }, args);
    const { status, stdout, stderr } = await runCall(call, { timeoutMs: 20_000 });
    assert.equal(status, 0, stderr);
    assert.equal(stderr, "");
    const model = JSON.parse(stdout) as Project;
    const ours = projectOf(project);
    assert.equal(model.name, project.name);
    assert.deepEqual(Object.keys(model.services).sort(), Object.keys(ours.services).sort());
    const names = (of: Project) => Object.values(of.networks ?? {}).map((network) => network["name"]);
    assert.deepEqual(names(model).sort(), names(ours).sort(), "no network of Compose's own");
  }
});
