/** Names that act, things that are no file, and places where others may write, for each verb of a site that takes a path. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before, describe } from "node:test";
import { fileURLToPath } from "node:url";
import { enrolSite } from "../support/ready-site.ts";
import { signedBundle, writeSignedBundle, writeTrustFiles } from "../support/signed-bundle.ts";

/** Control and format characters, but for the end of a line. */
const ACTING = /[^\P{Cc}\n]|\p{Cf}/u;
const NAMES = ["x\u001b[2J\u009b31m\u202e\u0007é\u0301", "a\nhealthy  1.0.0\n", "--yes", " '\"$(touch x)`;&|*?"];
const HUGE_BYTES = 1 << 40;
const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));
/** Each verb of a site that reads a path, and one good file for it; it is refused for want of a signature or more. */
const READERS: readonly { readonly words: readonly string[]; readonly option?: string; readonly good: string }[] = [
  { words: ["trust", "import"], good: "trust" },
  { words: ["policy", "import"], good: "policy.json" },
  { words: ["install"], good: "bundle.tar" },
  { words: ["upgrade"], good: "bundle.tar" },
  { words: ["verify"], good: "bundle.tar" },
  { words: ["config", "apply"], good: "config.yaml" },
  { words: ["install", "GOOD"], option: "--config", good: "config.yaml" },
  { words: ["tls", "import"], good: "config.yaml" },
  { words: ["policy", "import", "POLICY", "--authorization", "AUTHORIZATION"], option: "--request", good: "request" },
  { words: ["policy", "import", "POLICY", "--request", "REQUEST"], option: "--authorization", good: "request" },
  { words: ["operator", "add"], good: "operators" },
];
/** Each verb that only looks at a site, or would change it. */
const STATE_VERBS: readonly (readonly string[])[] = [
  ["status"],
  ["fsck"],
  ["start"],
  ["uninstall", "--yes"],
  ["ledger", "verify"],
  ["ledger", "show"],
  ["policy", "show"],
  ["operator", "list"],
  ["config", "show"],
  ["stop"],
  ["recover"],
  ["prune"],
  ["rollback"],
];
/** Each place is shown to so many of them; the first to all. */
const VERBS_EACH = 4;
let directory = "";
let state = "";
let key = "";
const at = (name: string): string => join(directory, name);

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "sealift-hostile-site-"));
  const bundle = signedBundle({ now: new Date() });
  await writeSignedBundle(at("bundle.tar"), bundle);
  await writeTrustFiles(at("trust"), bundle.trustFiles);
  const fingerprint = createHash("sha256")
    .update(bundle.trustFiles.get("1.root.json") ?? "")
    .digest("hex");
  ({ state, operatorKey: key } = await enrolSite(directory, { directory: at("trust"), fingerprint }));
  const policy = { schemaVersion: 1, name: "other", version: 2, acceptNotChecked: [] };
  writeFileSync(at("policy.json"), JSON.stringify(policy));
  writeFileSync(at("config.yaml"), "{}\n");
  const asked = await run(["authorize", "policy", at("policy.json"), "--out", at("request"), "--key", key, ...site()]);
  assert.equal(asked.exit, 0, asked.output);
  mkdirSync(at("empty"));
  execFileSync("mkfifo", [at("pipe")]);
  execFileSync("mknod", [at("device"), "c", "1", "5"]);
  symlinkSync("loop", at("loop"));
  symlinkSync("/nonexistent/x", at("dangling"));
  const huge = openSync(at("huge"), "w");
  ftruncateSync(huge, HUGE_BYTES);
  closeSync(huge);
});
after(() => rmSync(directory, { recursive: true, force: true }));

const site = (where = state): string[] => ["--state", where];

async function run(args: readonly string[]): Promise<{ exit: number | null; output: string }> {
  const what = JSON.stringify(args);
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    cwd: directory,
    env: { ...process.env, NODE_COMPILE_CACHE: at("compiled") },
    timeout: 30_000,
    killSignal: "SIGKILL",
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const [exit, signal] = (await once(child, "close")) as [number | null, string | null];
  assert.equal(signal, null, `${what} does not end: ${output}`);
  assert.doesNotMatch(output, ACTING, what);
  assert.doesNotMatch(output, /\[INTERNAL\]|\n {4}at /, `${what}: ${output}`);
  return { exit, output };
}

function refused({ exit, output }: { exit: number | null; output: string }, args: readonly string[]): void {
  const said = `${JSON.stringify(args)}: exit ${exit}\n${output}`;
  assert.ok([2, 3, 4, 5, 6].includes(exit ?? -1), said);
  assert.match(output, /\[[A-Z0-9_]+\]:|DENIED/, said);
}

/** Names, kinds, modes and contents of everything below, but for the lock. */
function treeOf(root: string): string {
  const hash = createHash("sha256");
  const look = (path: string): void => {
    const stat = lstatSync(path);
    hash.update(`${path} ${stat.mode} ${stat.uid} ${stat.size}\n`);
    if (stat.isDirectory()) for (const name of readdirSync(path).sort()) look(join(path, name));
    else if (stat.isFile()) hash.update(readFileSync(path));
  };
  for (const name of readdirSync(root).sort()) if (name !== "lock") look(join(root, name));
  return hash.digest("hex");
}

const wordsOf = (words: readonly string[]): string[] => {
  const files: Readonly<Record<string, string>> = {
    GOOD: at("bundle.tar"),
    POLICY: at("policy.json"),
    REQUEST: at("request"),
    AUTHORIZATION: at("request.sig"),
  };
  return words.map((word) => files[word] ?? word);
};

describe("what is no file of the kind that a verb of a site reads is refused, and the site stays as it was", () => {
  for (const { words, option } of READERS) {
    test([...words.filter((word) => /^[a-z]/.test(word)), option ?? "FILE"].join(" "), async () => {
      const unchanged = treeOf(state);
      const wrong = ["/dev/zero", at("pipe"), at("dangling"), at("empty"), at("huge"), ""];
      const others = ["/dev/null", at("device"), at("loop"), at("none"), `${at("bundle.tar")}/x`, "x".repeat(5000)];
      for (const path of words[0] === "install" || option !== undefined ? [...wrong, ...others] : wrong) {
        const how = option === undefined ? [path] : [option, path];
        const args = [...wordsOf(words), ...how, ...site()];
        // A configuration that says nothing is one.
        const isEmpty = [words.join(" "), option].includes("--config") || words[0] === "config";
        if (isEmpty && ["/dev/null"].includes(path)) continue;
        refused(await run(args), args);
      }
      assert.equal(treeOf(state), unchanged);
    });
  }
});

describe("a name is only a name for a verb of a site, and is shown so that it cannot act", () => {
  for (const { words, option, good } of READERS.filter(({ option: given }) => given === undefined)) {
    test(words.join(" "), async () => {
      const unchanged = treeOf(state);
      const plain = await run([...wordsOf(words), at(good), ...site()]);
      for (const [i, name] of NAMES.entries()) {
        const home = at(`named ${words.join(" ")} ${i}`);
        mkdirSync(home);
        cpSync(at(good), join(home, name), { recursive: true });
        assert.equal(option, undefined);
        const { exit, output } = await run([...wordsOf(words), join(home, name), ...site()]);
        assert.equal(exit, plain.exit, `${JSON.stringify(name)}: ${output}\n${plain.output}`);
        assert.equal(output.split("\n").length, plain.output.split("\n").length, output);
      }
      assert.equal(treeOf(state), unchanged);
    });
  }
});

describe("a directory that is no site, or not safe, is not taken for one", { concurrency: 2 }, () => {
  const places: readonly (readonly [string, RegExp, () => string])[] = [
    ["a link to the site", /\[STATE_FOREIGN\]/, () => link("link", state)],
    ["a link that leads nowhere", /\[STATE_FOREIGN\]/, () => at("dangling")],
    ["a link to itself", /\[STATE_FOREIGN\]/, () => at("loop")],
    ["a file", /\[STATE_FOREIGN\]/, () => at("policy.json")],
    ["a pipe", /\[STATE_FOREIGN\]/, () => at("pipe")],
    ["a device", /\[STATE_FOREIGN\]/, () => "/dev/zero"],
    ["a directory with other things", /\[STATE_FOREIGN\]/, () => at("trust")],
    ["a name that is too long", /\[STATE_UNREADABLE\]/, () => "x".repeat(5000)],
    ["a site that others may write to", /\[STATE_UNSAFE\]/, () => copied("writable", (copy) => chmodSync(copy, 0o777))],
    [
      "a site below a directory that everybody may write to",
      /\[STATE_UNSAFE\]/,
      () => copied("open/state", () => chmodSync(at("open"), 0o777)),
    ],
    [
      "a site whose ledger is a link",
      /\[STATE_|\[LEDGER_/,
      () => copied("linked", (copy) => movedBehindLink(join(copy, "ledger"), at("elsewhere"))),
    ],
    [
      "a site whose ledger is a pipe",
      /\[STATE_|\[LEDGER_/,
      () => copied("piped", (copy) => execFileSync("sh", ["-c", 'rm "$1/ledger"; mkfifo "$1/ledger"', "sh", copy])),
    ],
    [
      "a site whose identity is a link",
      /\[STATE_/,
      () => copied("identity", (copy) => movedBehindLink(join(copy, "site/site.json"), at("identity.json"))),
    ],
  ];
  for (const [i, [what, code, make]] of places.entries()) {
    test(what, async () => {
      const place = make();
      for (const words of i === 0 ? STATE_VERBS : STATE_VERBS.slice(0, VERBS_EACH)) {
        const args = [...words, ...site(place)];
        const result = await run(args);
        refused(result, args);
        assert.match(result.output, code, `${JSON.stringify(args)}: ${result.output}`);
      }
    });
  }

  function link(name: string, to: string): string {
    symlinkSync(to, at(name));
    return at(name);
  }

  function copied(name: string, change: (copy: string) => void): string {
    mkdirSync(join(at(name), ".."), { recursive: true });
    cpSync(state, at(name), { recursive: true });
    chmodSync(at(name), 0o700);
    change(at(name));
    return at(name);
  }

  function movedBehindLink(path: string, to: string): void {
    renameSync(path, to);
    symlinkSync(to, path);
  }
});

test("a site in a directory with a name that acts is a site, and shown so that it cannot act", async () => {
  for (const [i, name] of NAMES.entries()) {
    const home = at(`site ${i}`);
    mkdirSync(home);
    const place = join(home, name);
    const made = await run(["site", "init", "--operators", at("operators"), ...site(place)]);
    assert.equal(made.exit, 0, made.output);
    const verified = await run(["ledger", "verify", ...site(place)]);
    assert.equal(verified.exit, 0, verified.output);
    assert.deepEqual(readdirSync(home), [name]);
  }
});

describe("what is written goes to a new file only, never over or through what is there", () => {
  const WRITERS: readonly (readonly string[])[] = [
    ["authorize", "policy", "POLICY", "--out"],
    ["ledger", "export", "--out"],
    ["policy", "show", "--out"],
  ];
  for (const words of WRITERS) {
    test(words.join(" "), async () => {
      const unchanged = treeOf(state);
      writeFileSync(at("precious"), "precious");
      rmSync(at("planted"), { force: true });
      symlinkSync(at("precious"), at("planted"));
      rmSync(at("through"), { force: true });
      symlinkSync(at("not there yet"), at("through"));
      const wrong = [at("precious"), at("planted"), at("through"), at("pipe"), at("empty"), "/dev/full", at("loop")];
      for (const path of [...wrong, join(at("none"), "x"), join(at("precious"), "x"), "", "x".repeat(5000)]) {
        const args = [...wordsOf(words), path, ...site()];
        refused(await run(args), args);
      }
      if (words[0] === "authorize") {
        mkdirSync(at("blocked.sig"), { recursive: true });
        const args = [...wordsOf(words), at("blocked"), "--key", key, ...site()];
        refused(await run(args), args);
      }
      assert.equal(readFileSync(at("precious"), "utf8"), "precious");
      assert.ok(!existsSync(at("not there yet")));
      for (const name of NAMES) {
        const home = mkdtempSync(at("out-"));
        const { exit, output } = await run([...wordsOf(words), join(home, name), ...site()]);
        assert.equal(exit, 0, output);
        assert.deepEqual(readdirSync(home), [name]);
      }
      assert.equal(treeOf(state), unchanged);
    });
  }
});
