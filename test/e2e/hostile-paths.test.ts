/** Names that act and things that are no file, for each verb that takes a bundle, an SBOM or a directory. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before, describe } from "node:test";
import { fileURLToPath } from "node:url";
import { generateKeyFiles } from "../../bundles/sign/key-file.ts";
import { goodExhibit } from "../support/bad-bundles.ts";
import { sbomWith } from "../support/scan-inputs.ts";
import { SMALL_NOW, writeTrustFiles } from "../support/signed-bundle.ts";

/** Control and format characters, but for the end of a line. */
const ACTING = /[^\P{Cc}\n]|\p{Cf}/u;
const NAMES = [
  "a b'\"\\$(touch x)`;&|*?.tar",
  "x\u001b[2J\u009b31m\u202e\u0007.tar",
  "a\nALLOWED  demo 1.0.0\n.tar",
  "-rf",
];

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));
let directory = "";
const at = (name: string): string => join(directory, name);

/** The verbs that read what a path names and need no site. */
const VERBS: readonly { readonly args: (path: string) => string[]; readonly takes: "bundle" | "trust" | "sbom" }[] = [
  { takes: "bundle", args: (path) => ["verify", path, "--trust", at("trust"), "--at", SMALL_NOW] },
  { takes: "bundle", args: (path) => ["bundle", "inspect", path] },
  { takes: "bundle", args: (path) => ["bundle", "sign", path, "--role", "builder", "--key", at("key.key")] },
  { takes: "bundle", args: (path) => ["bundle", "attach", path, at("none.sig.json")] },
  { takes: "bundle", args: (path) => ["sbom", "show", path] },
  { takes: "bundle", args: (path) => ["sbom", "diff", path, path] },
  { takes: "trust", args: (path) => ["trust", "show", path] },
  { takes: "sbom", args: (path) => ["sbom", "validate", path] },
];
const lines = (output: string): string[] => output.split("\n");
const verbOf = (args: readonly string[]): string => args.slice(0, args[0]?.startsWith("-") ? 0 : 2).join(" ");

async function run(args: readonly string[], verb: string): Promise<{ exit: number | null; output: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, COSIGN_PASSWORD: "", NODE_COMPILE_CACHE: at("compiled") },
    timeout: 30_000,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const [exit, signal] = (await once(child, "close")) as [number | null, string | null];
  assert.equal(signal, null, `${verb} does not end`);
  assert.doesNotMatch(output, ACTING, verb);
  assert.doesNotMatch(output, /\[INTERNAL\]|\n {4}at /, verb);
  return { exit, output };
}

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "sealift-hostile-paths-"));
  await writeTrustFiles(at("trust"), goodExhibit.trustFiles);
  generateKeyFiles(at("key"), "");
  writeFileSync(at("good.tar"), goodExhibit.bytes);
  writeFileSync(at("sbom.json"), sbomWith(["pkg:deb/debian/a@1"]));
  mkdirSync(at("empty"));
  execFileSync("mkfifo", [at("pipe")]);
  symlinkSync("loop", at("loop"));
  symlinkSync("/nonexistent/x", at("dangling"));
  symlinkSync("good.tar", at("link to a bundle"));
  symlinkSync("trust", at("link to a trust"));
});
after(() => rmSync(directory, { recursive: true, force: true }));

describe("what is no bundle, trust or SBOM is refused at once, with a code", { concurrency: 2 }, () => {
  for (const { args, takes } of VERBS) {
    const verb = verbOf(args("x"));
    test(verb, async () => {
      const wrong = ["/dev/zero", "/dev/null", at("pipe"), at("loop"), at("dangling"), at("empty"), ""];
      // A person may name a pipe on purpose where one file is read from start to end.
      for (const path of wrong.filter((one) => takes !== "sbom" || one !== at("pipe"))) {
        const { exit, output } = await run(args(path), `${verb} ${path}`);
        assert.ok([2, 3, 4, 5].includes(exit ?? -1), `${verb} ${JSON.stringify(path)}: exit ${exit}\n${output}`);
        assert.match(output, /error \[[A-Z0-9_]+\]:|DENIED/, `${verb} ${path}`);
      }
    });
  }
});

describe("a name is only a name, and is shown so that it cannot act", { concurrency: 2 }, () => {
  for (const { args, takes } of VERBS) {
    const verb = verbOf(args("x"));
    test(verb, async () => {
      const plain = { bundle: "good.tar", trust: "trust", sbom: "sbom.json" }[takes];
      const results = [plain, ...NAMES].map(async (name, i) => {
        const home = at(`named ${verb} ${i}`);
        mkdirSync(home);
        cpSync(at(plain), join(home, name), { recursive: true });
        return run(args(join(home, name)), `${verb} ${name}`);
      });
      const [want, ...got] = await Promise.all(results);
      for (const [i, name] of NAMES.entries()) {
        const { exit, output } = got[i] as { exit: number; output: string };
        assert.equal(exit, want?.exit, `${verb} ${JSON.stringify(name)}: ${output}`);
        assert.equal(lines(output).length, lines(want?.output ?? "").length, output);
        const absent = await run(args(at(`no ${name}`)), `${verb} ${name}`);
        assert.ok([2, 3, 4, 5].includes(absent.exit ?? -1), absent.output);
      }
    });
  }
});

test("a link to a bundle or to a trust is followed, because a person named it", async () => {
  for (const [path, trust] of [
    ["link to a bundle", "trust"],
    ["good.tar", "link to a trust"],
  ] as const) {
    const args = ["verify", at(path), "--trust", at(trust), "--at", SMALL_NOW];
    assert.equal((await run(args, "verify")).exit, 0);
  }
});
