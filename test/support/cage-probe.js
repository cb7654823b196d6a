/**
 * Runs in the cage in place of the judge and tries what a judge that a bundle has taken over would try.
 * One line in: what to try it on. One line out: for each attempt `denied`, or what was got.
 */
import {
  copyFileSync,
  createReadStream,
  fchmodSync,
  ftruncateSync,
  futimesSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openAsBlob,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/**
 * @type {{ bundle: string, secret: string, spare: string, module: string, native: string, port: number,
 *   socket: string, abstract: string, code: string, without?: string[] }}
 */
const target = JSON.parse(String((await lines.next()).value));

/** @type {Record<string, unknown>} */
const got = {};

/** Ends the attempt that is under way: some of Node's refusals come as an error that nobody can catch. */
let fail = (/** @type {unknown} */ _cause) => {};
process.on("uncaughtException", (cause) => fail(cause));
process.on("unhandledRejection", (cause) => fail(cause));

/** @param {string} name @param {() => unknown} attempt */
async function tryTo(name, attempt) {
  if (target.without?.includes(name)) return;
  const failure = new Promise((_, reject) => {
    fail = reject;
  });
  const late = setTimeout(() => fail(Object.assign(new Error("no answer"), { code: "NO_ANSWER" })), 3_000);
  try {
    const found = await Promise.race([Promise.resolve().then(attempt), failure]);
    got[name] = { got: String(found).slice(0, 80) };
  } catch (cause) {
    got[name] = { denied: /** @type {NodeJS.ErrnoException} */ (cause).code ?? String(cause) };
  }
  clearTimeout(late);
  failure.catch(() => {});
}

/** @param {import("node:net").NetConnectOpts} options */
async function connect(options) {
  const net = await import("node:net");
  return new Promise((resolve, reject) => {
    const socket = net.connect(options, () => resolve("connected"));
    socket.on("error", reject);
  });
}

/** @param {import("node:net").ListenOptions} options */
async function listen(options) {
  const net = await import("node:net");
  return new Promise((resolve, reject) => {
    const server = net.createServer().on("error", reject);
    server.listen(options, () => server.close(() => resolve("listening")));
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
// Every other way in which Node opens a file by its name.
await tryTo("read with promises", async () => (await import("node:fs/promises")).readFile(target.secret));
await tryTo("read as a stream", async () => {
  for await (const chunk of createReadStream(target.secret)) return chunk;
  return "nothing in it";
});
await tryTo("read as a blob", async () => (await openAsBlob(target.secret)).size);
await tryTo("read as an environment file", () => process.loadEnvFile(target.secret));
await tryTo("read as a module", async () => (await import(pathToFileURL(target.module).href)).default);
await tryTo("read by require", () => createRequire(target.code)(target.module));
await tryTo("read the parent's environment", () => readFileSync(`/proc/${process.ppid}/environ`, "utf8"));
await tryTo("read its own environment", () => readFileSync("/proc/self/environ", "utf8"));
await tryTo("read its own memory", () => openSync("/proc/self/mem", "r"));
await tryTo("read through the parent's root", () => readdirSync(`/proc/${process.ppid}/root`));
await tryTo("look through its open files", () => readdirSync("/proc/self/fd"));
await tryTo("open the bundle again, to write", () => openSync("/proc/self/fd/3", "r+"));
await tryTo("search by a pattern", async () => {
  const { globSync } = await import("node:fs");
  const found = globSync(`${dirname(target.secret)}/*`);
  if (found.length === 0) throw Object.assign(new Error("nothing found"), { code: "NOTHING" });
  return found;
});
await tryTo("watch the secret", async () => {
  const { watch } = await import("node:fs");
  watch(target.secret).close();
  return "watched";
});
await tryTo("make a link to the secret", () => symlinkSync(target.secret, "link"));
await tryTo("make a hard link to the bundle", () => linkSync(target.bundle, "hard link"));
await tryTo("make a directory", () => mkdirSync("made"));
await tryTo("make a temporary directory", () => rmdirSync(mkdtempSync(join(tmpdir(), "probe-"))));
await tryTo("copy the bundle", () => copyFileSync(target.bundle, "copy"));
await tryTo("remove a file", () => rmSync(target.spare));
await tryTo("write through the bundle's descriptor", () => writeSync(3, "x"));
await tryTo("change the bundle's mode through its descriptor", () => fchmodSync(3, 0o777));
await tryTo("change the bundle's times through its descriptor", () => futimesSync(3, 1, 1));
await tryTo("cut the bundle through its descriptor", () => ftruncateSync(3, 0));
await tryTo("write a report", () => process.report.writeReport("probe.json"));
await tryTo("write a snapshot of the heap", async () =>
  (await import("node:v8")).writeHeapSnapshot("probe.heapsnapshot"),
);
await tryTo("write a trace", async () => {
  const tracing = (await import("node:trace_events")).createTracing({ categories: ["v8"] });
  tracing.enable();
  tracing.disable();
  return "enabled";
});
// Other ways out.
await tryTo("listen on TCP", () => listen({ host: "127.0.0.1", port: 0 }));
await tryTo("listen on a Unix socket", () => listen({ path: "probe-socket" }));
await tryTo("listen on an abstract socket", () => listen({ path: "\0probe" }));
await tryTo("connect to an abstract socket", () => connect({ path: target.abstract }));
await tryTo("send over UDP", async () => {
  const socket = (await import("node:dgram")).createSocket("udp4");
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.send("x", target.port, "127.0.0.1", (error) => (error ? reject(error) : resolve("sent")));
  }).finally(() => socket.close());
});
await tryTo("ask for a name", async () => (await import("node:dns/promises")).lookup("localhost"));
await tryTo("open a web socket", async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${target.port}/`);
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve("open");
    socket.onerror = (event) => reject(Object.assign(new Error("refused"), { code: String(event.type) }));
  });
});
await tryTo("open the inspector", async () => {
  const inspector = await import("node:inspector");
  inspector.open(0, "127.0.0.1");
  const url = inspector.url();
  inspector.close();
  return url;
});
await tryTo("debug itself", async () => {
  const { Session } = await import("node:inspector");
  const session = new Session();
  session.connect();
  return "connected";
});
await tryTo("fork", async () => {
  const child = (await import("node:child_process")).fork(target.module);
  return new Promise((resolve, reject) => child.on("exit", resolve).on("error", reject));
});
await tryTo("load native code by require", () => createRequire(target.code)(target.native));
// Node's own insides, without the doors.
const insides = /** @type {{ binding: (name: string) => object }} */ (/** @type {unknown} */ (process));
for (const name of ["fs", "spawn_sync", "process_wrap", "tcp_wrap", "pipe_wrap"]) {
  await tryTo(`take the inside ${name}`, () => Object.keys(insides.binding(name)).join());
}
await tryTo("run hooks of the loader in their thread", async () => {
  const { register } = await import("node:module");
  const { port1, port2 } = new MessageChannel();
  const code = `import { readFileSync } from "node:fs";
    export function initialize({ port, path }) {
      try { port.postMessage({ got: String(readFileSync(path)) }); } catch (cause) { port.postMessage({ denied: cause.code }); }
    }`;
  register(`data:text/javascript,${encodeURIComponent(code)}`, {
    parentURL: import.meta.url,
    data: { port: port2, path: target.secret },
    transferList: [port2],
  });
  return new Promise((resolve, reject) => {
    port1.onmessage = ({ data }) => {
      port1.close();
      if (data.denied === undefined) resolve(data.got);
      else reject(Object.assign(new Error("denied"), { code: data.denied }));
    };
  });
});
await tryTo("start a program with WASI", async () => {
  const { WASI } = await import("node:wasi");
  const wasi = new WASI({ version: "preview1", preopens: { "/": "/" } });
  return typeof wasi.getImportObject();
});
await tryTo("become root", () => process.setuid?.(0));
await tryTo("take another group", () => process.setgroups?.([0]));
await tryTo("drop the permissions", () => {
  if (process.permission) process.permission.has = () => true;
  return readFileSync(target.secret, "utf8");
});
await tryTo("turn on flags of V8", async () => {
  (await import("node:v8")).setFlagsFromString("--allow-natives-syntax");
  return "set";
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
