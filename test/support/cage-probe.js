/**
 * Runs in the cage in place of the judge and tries what a judge that a bundle has taken over would try.
 * One line in: what to try it on. One line out: for each attempt `denied`, or what was got.
 */
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/** @type {{ bundle: string, secret: string, port: number, socket: string, code: string }} */
const target = JSON.parse(String((await lines.next()).value));

/** @type {Record<string, unknown>} */
const got = {};

/** @param {string} name @param {() => unknown} attempt */
async function tryTo(name, attempt) {
  try {
    got[name] = { got: String(await attempt()).slice(0, 80) };
  } catch (cause) {
    got[name] = { denied: /** @type {NodeJS.ErrnoException} */ (cause).code ?? String(cause) };
  }
}

/** @param {import("node:net").NetConnectOpts} options */
async function connect(options) {
  const net = await import("node:net");
  return new Promise((resolve, reject) => {
    const socket = net.connect(options, () => resolve("connected"));
    socket.on("error", reject);
  });
}

await tryTo("read /etc/passwd", () => readFileSync("/etc/passwd", "utf8"));
await tryTo("read the bundle by its path", () => readFileSync(target.bundle, "utf8"));
await tryTo("read a secret of the parent's user", () => readFileSync(target.secret, "utf8"));
await tryTo("stat outside", () => statSync("/etc").size);
await tryTo("list the root directory", () => readdirSync("/"));
await tryTo("read /proc", () => readlinkSync("/proc/self/exe"));
await tryTo("write into the working directory", () => writeFileSync("probe", "x"));
await tryTo("write into the code", () => writeFileSync(`${target.code}/probe`, "x"));
await tryTo("connect over TCP", () => connect({ host: "127.0.0.1", port: target.port }));
await tryTo("connect to a Unix socket", () => connect({ path: target.socket }));
await tryTo("fetch", () => fetch(`http://127.0.0.1:${target.port}/`));
await tryTo("start a process", async () =>
  (await import("node:child_process")).execFileSync(process.execPath, ["-p", "1"]),
);
await tryTo("start a worker", async () => {
  const { Worker } = await import("node:worker_threads");
  return new Promise((resolve, reject) => {
    const code = `require("node:fs").readFileSync(${JSON.stringify(target.secret)})`;
    new Worker(code, { eval: true }).on("exit", resolve).on("error", reject);
  });
});
// The permission model does not hold SQLite; the user and the directory must.
await tryTo("read the secret with SQLite", async () => {
  const { DatabaseSync } = await import("node:sqlite");
  return new DatabaseSync(target.secret).prepare("select * from sqlite_master").all().length;
});
await tryTo("write with SQLite", async () => {
  const { DatabaseSync } = await import("node:sqlite");
  return new DatabaseSync("probe.sqlite").exec("create table t (a)");
});
await tryTo("signal the parent", () => process.kill(process.ppid, 0));
await tryTo("load native code", () => process.dlopen({ exports: {} }, target.secret));

process.stdout.write(
  `${JSON.stringify({
    got,
    environment: Object.keys(process.env),
    uid: process.getuid?.(),
    gid: process.getgid?.(),
    groups: process.getgroups?.(),
    pid: process.pid,
  })}\n`,
);
// Until the parent has looked at us from outside.
await lines.next();
