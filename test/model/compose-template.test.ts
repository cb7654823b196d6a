import assert from "node:assert/strict";
import test from "node:test";
import { composeProblems } from "../../bundles/model/compose-template.ts";
import { digestOf } from "../../bundles/model/digest.ts";

const digest = digestOf("image");
const images = new Map([["web", digest]]);
const image = `web@${digest}`;
const codes = (template: unknown) => composeProblems(template, images).map(({ code }) => code);
const service = (members: object, rest: object = {}) => ({ services: { web: { image, ...members } }, ...rest });

test("accepts a hardened service with named volumes, secrets of the site, internal networks and the installer's variables", () => {
  const template = service(
    {
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
      volumes: ["data:/var/lib/data"],
      ports: ["${SEALIFT_CLIENT_ADDRESS}:${SEALIFT_CLIENT_PORT}:8080"],
      environment: { PRICE: "5$$" },
      secrets: [{ source: "password", target: "/run/secrets/password" }],
      logging: { driver: "local" },
    },
    {
      volumes: { data: {} },
      networks: { core: { internal: true }, edge: {} },
      secrets: { password: { file: "${SEALIFT_SECRETS}/web/password" } },
    },
  );
  assert.deepEqual(composeProblems(template, images), []);
});

const refused: readonly (readonly [string, string, unknown])[] = [
  ["no services", "COMPOSE_MALFORMED", { services: {} }],
  ["an unknown top-level member", "COMPOSE_MALFORMED", service({}, { include: ["other.yaml"] })],
  ["a tag", "COMPOSE_NOT_PINNED", { services: { web: { image: "web:1.0.0" } } }],
  ["a tag beside the digest", "COMPOSE_NOT_PINNED", { services: { web: { image: `web:1@${digest}` } } }],
  ["a variable as image", "COMPOSE_NOT_PINNED", { services: { web: { image: "${SEALIFT_IMAGE}" } } }],
  ["another image's digest", "COMPOSE_FOREIGN_IMAGE", { services: { web: { image: `web@${digestOf("x")}` } } }],
  ["another name", "COMPOSE_FOREIGN_IMAGE", { services: { web: { image: `db@${digest}` } } }],
  ...[
    "privileged",
    "network_mode",
    "pid",
    "ipc",
    "cap_add",
    "devices",
    "extends",
    "env_file",
    "build",
    "group_add",
    "deploy",
    "userns_mode",
    "cgroup_parent",
    "sysctls",
  ].map((member) => [member, "COMPOSE_NOT_ALLOWED", service({ [member]: "host" })] as const),
  ["a security option", "COMPOSE_NOT_ALLOWED", service({ security_opt: ["seccomp:unconfined"] })],
  ["the engine's socket", "COMPOSE_NOT_ALLOWED", service({ volumes: ["/var/run/docker.sock:/s"] })],
  [
    "a bind mount in the long form",
    "COMPOSE_NOT_ALLOWED",
    service({ volumes: [{ type: "bind", source: "/", target: "/h" }] }),
  ],
  ["a volume that is not declared", "COMPOSE_NOT_ALLOWED", service({ volumes: ["data:/d"] })],
  ["a volume named like a member of every object", "COMPOSE_NOT_ALLOWED", service({ volumes: ["constructor:/d"] })],
  [
    "a volume with a driver",
    "COMPOSE_NOT_ALLOWED",
    service({}, { volumes: { data: { driver_opts: { o: "bind", device: "/" } } } }),
  ],
  [
    "another project's volume",
    "COMPOSE_NOT_ALLOWED",
    service({}, { volumes: { data: { external: true, name: "other" } } }),
  ],
  ["the host's network", "COMPOSE_NOT_ALLOWED", service({}, { networks: { h: { external: true, name: "host" } } })],
  ["a secret from the host", "COMPOSE_NOT_ALLOWED", service({}, { secrets: { s: { file: "/etc/shadow" } } })],
  [
    "a secret that climbs out",
    "COMPOSE_NOT_ALLOWED",
    service({}, { secrets: { s: { file: "${SEALIFT_SECRETS}/../site" } } }),
  ],
  ["a secret from the environment", "COMPOSE_NOT_ALLOWED", service({}, { secrets: { s: { environment: "HOME" } } })],
  ["a configuration from a file", "COMPOSE_NOT_ALLOWED", service({}, { configs: { c: { file: "/etc/shadow" } } })],
  ["a variable of the environment", "COMPOSE_NOT_ALLOWED", service({ command: ["echo", "$HOME"] })],
  [
    "a variable of the environment in braces, with a default",
    "COMPOSE_NOT_ALLOWED",
    service({ command: "${AWS_KEY:-x}" }),
  ],
  ["logs sent elsewhere", "COMPOSE_NOT_ALLOWED", service({ logging: { driver: "syslog" } })],
];

for (const [what, code, template] of refused) {
  test(`refuses ${what}`, () => {
    assert.deepEqual([...new Set(codes(template))], [code]);
  });
}
