import assert from "node:assert/strict";
import test from "node:test";
import { composeProblems, type ReleaseParts } from "../../bundles/model/compose-template.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { smallRules } from "../support/small-bundle.ts";

const digest = digestOf("image");
const image = `web@${digest}`;
const release: ReleaseParts = {
  images: new Map([["web", digest]]),
  files: ["small-model"],
  configSchema: { type: "object", properties: { clientAddress: {}, clientPort: {} } },
};
const PASSWORD = { password: { file: "${SEALIFT_SECRETS}/web/password" } };

interface Parts {
  readonly web?: object;
  readonly front?: object;
  readonly rules?: object;
  /** Besides web and front. */
  readonly services?: object;
  readonly rest?: object;
}

/** `front` in base before the colour's `web`. */
function whole({ web, front, rules, services, rest }: Parts) {
  return {
    services: { web: { image, ...web }, front: { image, ...front }, ...services },
    "x-sealift": { ...smallRules("web"), ...rules },
    ...rest,
  };
}

const service = (web: object, rest: object = {}) => whole({ web, rest });
const problems = (template: unknown) => composeProblems(template, release);
const codes = (template: unknown) => problems(template).map(({ code }) => code);

test("accepts a hardened service with named volumes, secrets of the site, internal networks and the installer's variables", () => {
  const template = whole({
    web: {
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
      volumes: [
        "data:/var/lib/data",
        { type: "bind", source: "${SEALIFT_FILE_SMALL_MODEL}", target: "/model", read_only: true },
      ],
      networks: ["core"],
      environment: { PRICE: "5$$", RELEASE: "${SEALIFT_RELEASE}", COLOUR: "${SEALIFT_COLOUR}" },
      secrets: [{ source: "password", target: "/run/secrets/password" }],
      depends_on: ["front"],
      labels: { "org.example": "x" },
      logging: { driver: "local" },
    },
    front: {
      ports: ["${SEALIFT_CLIENT_ADDRESS}:${SEALIFT_CLIENT_PORT}:8080"],
      networks: ["core", "edge"],
      volumes: [{ type: "bind", source: "${SEALIFT_SWITCH}", target: "/switch", read_only: true }],
    },
    services: { migrate: { image, depends_on: { front: { condition: "service_started" } } } },
    rules: {
      tasks: { migrate: "migrate" },
      database: { service: "front", names: ["site"] },
      secrets: [{ kind: "password", files: { "web/password": 10001 } }],
    },
    rest: { volumes: { data: {} }, networks: { core: { internal: true }, edge: {} }, secrets: PASSWORD },
  });
  assert.deepEqual(problems(template), []);
});

test("accepts a secret of each kind", () => {
  const files = ["a/key", "b/key", "b/signing", "a/signing.pub", "web/identity/key.pem", "web/tls/key.pem"];
  const secrets = Object.fromEntries(files.map((file, i) => [`s${i}`, { file: `\${SEALIFT_SECRETS}/${file}` }]));
  const rules = [
    { kind: "key", files: { "a/key": 1, "b/key": 2 } },
    { kind: "ed25519", files: { "b/signing": 2 }, publicFiles: { "a/signing.pub": 1 } },
    { kind: "identity", service: "web", directory: "web/identity", uid: 3, fixed: true },
    { kind: "server-certificate", directory: "web/tls", uid: 3 },
  ];
  assert.deepEqual(problems(whole({ rules: { secrets: rules }, rest: { secrets } })), []);
});

const bind = (variable: string, members: object = {}) => ({
  type: "bind",
  source: `\${${variable}}`,
  target: "/x",
  read_only: true,
  ...members,
});
const password = (files: object) => ({ secrets: [{ kind: "password", files }] });

const refused: readonly (readonly [string, string, unknown])[] = [
  ["no services", "COMPOSE_MALFORMED", { services: {}, "x-sealift": smallRules("web") }],
  ["no rules", "COMPOSE_MALFORMED", { services: { web: { image }, front: { image } } }],
  ["an unknown top-level member", "COMPOSE_MALFORMED", service({}, { include: ["other.yaml"] })],
  ["a tag", "COMPOSE_NOT_PINNED", service({ image: "web:1.0.0" })],
  ["a tag beside the digest", "COMPOSE_NOT_PINNED", service({ image: `web:1@${digest}` })],
  ["a variable as image", "COMPOSE_NOT_PINNED", service({ image: "${SEALIFT_RELEASE}" })],
  ["another image's digest", "COMPOSE_FOREIGN_IMAGE", service({ image: `web@${digestOf("x")}` })],
  ["another name", "COMPOSE_FOREIGN_IMAGE", service({ image: `db@${digest}` })],
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
  ["a default for a variable of ours", "COMPOSE_NOT_ALLOWED", service({ command: "${SEALIFT_RELEASE:-x}" })],
  ["a variable of ours without braces", "COMPOSE_NOT_ALLOWED", service({ command: "$SEALIFT_RELEASE" })],
  ["a variable that nobody sets", "COMPOSE_NOT_ALLOWED", service({ command: "${SEALIFT_SURPRISE}" })],
  ["a variable in a name", "COMPOSE_NOT_ALLOWED", service({ environment: { "${SEALIFT_RELEASE}": "x" } })],
  ["the switch in another service", "COMPOSE_NOT_ALLOWED", service({ volumes: [bind("SEALIFT_SWITCH")] })],
  [
    "a switch to write",
    "COMPOSE_NOT_ALLOWED",
    whole({ front: { volumes: [bind("SEALIFT_SWITCH", { read_only: false })] } }),
  ],
  ["a file that is not carried", "COMPOSE_NOT_ALLOWED", service({ volumes: [bind("SEALIFT_FILE_OTHER")] })],
  [
    "a bind mount that spreads",
    "COMPOSE_NOT_ALLOWED",
    service({ volumes: [bind("SEALIFT_FILE_SMALL_MODEL", { bind: { propagation: "shared" } })] }),
  ],
  ["a network that is not declared", "COMPOSE_NOT_ALLOWED", service({ networks: ["core"] })],
  [
    "another service's name on a network",
    "COMPOSE_NOT_ALLOWED",
    service({ networks: { core: { aliases: ["web-green"] } } }, { networks: { core: {} } }),
  ],
  ["a secret that is not declared", "COMPOSE_NOT_ALLOWED", service({ secrets: ["password"] })],
  ["a secret without a file", "COMPOSE_NOT_ALLOWED", service({}, { secrets: { s: null } })],
  [
    "a configuration that is not declared",
    "COMPOSE_NOT_ALLOWED",
    service({ configs: [{ source: "c", target: "/c" }] }),
  ],
  ["a label of Compose's", "COMPOSE_NOT_ALLOWED", service({ labels: { "com.docker.compose.project": "x" } })],
  ["a label of the installer's", "COMPOSE_NOT_ALLOWED", service({ labels: { "sealift.site": "x" } })],
  ["labels as a list", "COMPOSE_NOT_ALLOWED", service({ labels: ["sealift.site=x"] })],
  [
    "the installer's label on a volume",
    "COMPOSE_NOT_ALLOWED",
    service({}, { volumes: { data: { labels: { "sealift.site": "x" } } } }),
  ],
  ["logs sent elsewhere", "COMPOSE_NOT_ALLOWED", service({ logging: { driver: "syslog" } })],
];

for (const [what, code, template] of refused) {
  test(`refuses ${what}`, () => {
    assert.deepEqual([...new Set(codes(template))], [code]);
  });
}

/** What the rules must not say, and the words by which the message tells it. */
const refusedRules: readonly (readonly [string, RegExp, Parts])[] = [
  [
    "a base service that is not there",
    /base: service "db" is not in the template/,
    { rules: { base: ["front", "db"] } },
  ],
  [
    "a service named like a member of every object",
    /is not in the template/,
    { rules: { base: ["front", "constructor"] } },
  ],
  [
    "a front outside base",
    /front\/service: service "other": got colour, want base/,
    {
      services: { other: { image } },
      rules: { front: { service: "other", target: "web" } },
    },
  ],
  [
    "a front's target in base",
    /front\/target: service "front": got base, want colour/,
    {
      rules: { front: { service: "front", target: "front" } },
    },
  ],
  ["a canary in base", /canary\/service/, { rules: { canary: { ...smallRules("web").canary, service: "front" } } }],
  ["a database outside base", /database\/service/, { rules: { database: { service: "web", names: ["site"] } } }],
  [
    "an identity of nobody",
    /secrets\/service: service "x" is not/,
    {
      rules: { secrets: [{ kind: "identity", service: "x", directory: "web/password", uid: 1 }] },
      rest: { secrets: PASSWORD },
    },
  ],
  [
    "a task in base",
    /tasks\/migrate: service "front": got base, want task/,
    { rules: { tasks: { migrate: "front" } } },
  ],
  [
    "one service as two tasks",
    /one service is two tasks/,
    {
      services: { job: { image } },
      rules: { tasks: { migrate: "job", credentials: "job" } },
    },
  ],
  [
    "a service that waits for a task",
    /"web" depends on the task "job"/,
    {
      web: { depends_on: ["job"] },
      services: { job: { image } },
      rules: { tasks: { migrate: "job" } },
    },
  ],
  ["a base that waits for a colour", /"front" base depends on "web"/, { front: { depends_on: { web: {} } } }],
  [
    "a task that starts a colour",
    /"job" task depends on "web"/,
    {
      services: { job: { image, depends_on: ["web"] } },
      rules: { tasks: { migrate: "job" } },
    },
  ],
  ["waiting for nobody", /which is not here/, { web: { depends_on: ["nobody"] } }],
  ["ports of a colour", /"web" publishes ports/, { web: { ports: ["127.0.0.1:1:1"] } }],
  ["a release in base", /SEALIFT_RELEASE} changes/, { front: { environment: { V: "${SEALIFT_RELEASE}" } } }],
  ["a colour in base", /SEALIFT_COLOUR} changes/, { front: { command: ["${SEALIFT_COLOUR}"] } }],
  [
    "a carried file in base",
    /SEALIFT_FILE_SMALL_MODEL} changes/,
    { front: { volumes: [bind("SEALIFT_FILE_SMALL_MODEL")] } },
  ],
  [
    "a release in a configuration of base",
    /SEALIFT_RELEASE} changes/,
    {
      front: { configs: [{ source: "c", target: "/c" }] },
      rest: { configs: { c: { content: "${SEALIFT_RELEASE}" } } },
    },
  ],
  ["a secret that nobody makes", /got 0 rules that make it/, { rest: { secrets: PASSWORD } }],
  [
    "a secret of two rules",
    /got 2 rules that make it/,
    {
      rules: { secrets: [...password({ "web/password": 1 }).secrets, ...password({ "web/password": 1 }).secrets] },
      rest: { secrets: PASSWORD },
    },
  ],
  [
    "a secret inside another rule's directory",
    /made by more than one rule/,
    {
      rules: {
        secrets: [{ kind: "server-certificate", directory: "web", uid: 1 }, ...password({ "web/password": 1 }).secrets],
      },
      rest: { secrets: PASSWORD },
    },
  ],
  ["a rule for nothing", /is not in the template's secrets/, { rules: password({ "web/password": 1 }) }],
];

for (const [what, message, parts] of refusedRules) {
  test(`refuses ${what}`, () => {
    const found = problems(whole(parts));
    assert.deepEqual([...new Set(found.map(({ code }) => code))], ["COMPOSE_NOT_ALLOWED"]);
    assert.match(found.map((problem) => problem.message).join("\n"), message);
  });
}

const malformedRules: readonly (readonly [string, object])[] = [
  ["an unknown member", { surprise: 1 }],
  ["an unknown task", { tasks: { cleanup: "web" } }],
  ["no base", { base: [] }],
  ["a database without names", { database: { service: "front", names: [] } }],
  ["a database's name that needs quotes", { database: { service: "front", names: ['a"b'] } }],
  ["a canary elsewhere", { canary: { ...smallRules("web").canary, path: "//example.org\r\n" } }],
  ["a canary without an end", { canary: { ...smallRules("web").canary, withinMs: 0 } }],
  ["a drain without an end", { drainSeconds: 1e9 }],
  ["a secret of an unknown kind", { secrets: [{ kind: "token", files: { "web/a": 1 } }] }],
  ["a password without files", password({})],
  ["a secret outside", password({ "../site": 1 })],
  ["a secret of root", password({ "web/a": 0 })],
  [
    "an identity that no certificate can hold",
    { secrets: [{ kind: "identity", service: "a_b", directory: "a", uid: 1 }] },
  ],
  ["an identity that climbs out", { secrets: [{ kind: "identity", service: "web", directory: "a/../..", uid: 1 }] }],
];

for (const [what, rules] of malformedRules) {
  test(`refuses rules with ${what}`, () => assert.deepEqual(codes(whole({ rules })), ["COMPOSE_MALFORMED"]));
}

test("refuses settings and files that would share a variable, and a setting named like one of the installer's", () => {
  const template = whole({});
  const files = ["a-b"];
  for (const name of ["release", "secrets", "fileAB", "fileA_b"]) {
    const found = composeProblems(template, { ...release, files, configSchema: { properties: { [name]: {} } } });
    assert.deepEqual(
      found.map(({ code }) => code),
      name === "fileAB" ? [] : ["COMPOSE_NOT_ALLOWED"],
      name,
    );
  }
});
