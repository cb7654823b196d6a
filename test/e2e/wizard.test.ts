/** What an operator sees and can do at a terminal: the wizard, its way out at every point, progress, a lost terminal. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sealift } from "../support/command-line.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { KEYS, Pty, type PtyOptions, skipWithoutPty } from "../support/pty.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const PORT = 18543;
const { enter, down, tab, interrupt, endOfFile, eraseLine } = KEYS;
/** Enter at every question of the first release's configuration. */
const DEFAULTS = [enter, enter, enter];
const KEY_QUESTION = /Which key signs this plan\?[^\n]*\n[\s\S]*select/;

inOwnMachine(
  import.meta.url,
  "an operator at a terminal",
  () => describe("at a terminal", { timeout: 480_000, skip: skipWithoutPty() }, suite),
  () => prepareReleases("first", "next"),
);

function suite(): void {
  const cleanups: (() => Promise<void>)[] = [];
  let site: RunningSite;
  let directory: string;

  const at = (args: readonly string[], options: PtyOptions = {}): Pty =>
    new Pty([...args, "--state", site.site.state], { directory, ...options });

  before(async () => {
    directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    site = await RunningSite.start(directory, "classic");
    cleanups.unshift(() => site.engine.stop());
    for (const name of ["first", "next"] as const) {
      await symlink((await realRelease(name)).bundle, join(directory, `${name}.tar`));
    }
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  it("is told the commands that come first, before it is asked anything", async () => {
    const nowhere = new Pty(["install", "--state", join(directory, "nowhere")]);
    assert.equal(await nowhere.ends(), 4);
    assert.match(nowhere.text, /\[STATE_NOT_FOUND\][\s\S]*sealift site init --operators FILE/);
    const fresh = join(directory, "fresh");
    const made = await sealift(["site", "init", "--operators", join(directory, "site/operators"), "--state", fresh]);
    assert.equal(made.exit, 0, made.stderr);
    const untrusting = new Pty(["install", "--state", fresh]);
    assert.equal(await untrusting.ends(), 4);
    assert.match(untrusting.text, /\[TRUST_NOT_ENROLLED\][\s\S]*sealift trust import DIR --fingerprint SHA256/);
  });

  it("leaves with 130 and nothing changed at every question, by Ctrl-C and by Ctrl-D", async () => {
    const untouched = digestOf(site.site.state);
    const questions: (readonly [string, (pty: Pty) => Promise<void>])[] = [
      ["bundle", (pty) => pty.sees(/Bundle[\s\S]*first\.tar/)],
      ["configuration", (pty) => pty.sees(/clientAddress:/)],
      ["review", (pty) => pty.sees(/Is the configuration right\?[\s\S]*select/)],
      ["key", (pty) => pty.sees(KEY_QUESTION)],
      ["file", (pty) => pty.sees(/Key file:/)],
    ];
    const forward: readonly (readonly string[])[] = [[..."first.tar", enter], DEFAULTS, [enter], [enter]];
    for (const [index, way] of [interrupt, endOfFile, interrupt, endOfFile, interrupt].entries()) {
      const pty = at(["install"]);
      for (const [i, [, reached]] of questions.slice(0, index + 1).entries()) {
        await reached(pty);
        await pty.press(...(i === index ? [way] : (forward[i] ?? [])));
      }
      assert.equal(await pty.ends(), 130, pty.text);
      assert.match(pty.text, /stopped; nothing was changed\r?\n$/);
      assert.equal(digestOf(site.site.state), untouched, questions[index]?.[0] ?? "");
    }
    assert.equal((await site.status()).state, "not-installed");
  });

  it("writes the request for others, with the configuration that it asked for, and the command that goes on", async () => {
    const untouched = digestOf(site.site.state);
    const pty = at(["install", "first.tar"]);
    await pty.sees(/clientAddress:/);
    await pty.press(...DEFAULTS);
    await pty.sees(/Is the configuration right\?[\s\S]*select/);
    await pty.press(enter);
    await pty.sees(KEY_QUESTION);
    await pty.press(down, enter);
    await pty.sees(/Write the request to:/);
    await pty.press(enter);
    assert.equal(await pty.ends(), 0, pty.text);
    assert.equal(digestOf(site.site.state), untouched);
    const flat = pty.text.replaceAll("\r", "");
    const [, again = ""] = /^Then: (.*)$/m.exec(flat) ?? [];
    assert.match(again, /^sealift install first\.tar --state \S+ --config install\.request\.config\.json --request/);
    const request = readFileSync(join(directory, "install.request"));
    const sign = ["-Y", "sign", "-n", "sealift-authorization", "-f", site.site.operatorKey];
    await writeFile(
      join(directory, "NAME.sig"),
      execFileSync("ssh-keygen", sign, { input: request, stdio: ["pipe", "pipe", "ignore"] }),
    );
    // The same words, from the directory in which they were shown; --plan would not look at the signature.
    const files = ["first.tar", "install.request.config.json", "install.request", "NAME.sig"];
    const words = again.split(" ").slice(1);
    const absolute = words.map((word) => (files.includes(word) ? join(directory, word) : word));
    const stolen = absolute.map((word) => (word.endsWith("config.json") ? join(directory, "other.json") : word));
    await writeFile(join(directory, "other.json"), `{"clientPort":${PORT}}`);
    const refused = await sealift(stolen);
    assert.equal(refused.exit, 3, refused.stderr);
    assert.match(refused.stderr, /\[AUTHORIZATION_OTHER_PLAN\]/);
  });

  it("installs: completes a path, corrects an answer, looks it over, picks a key, sees the steps and the key", async () => {
    const pty = at(["install"]);
    await pty.sees(/Bundle[\s\S]*first\.tar/);
    await pty.press("fi", tab, enter);
    await pty.sees(/verifying: allowed/);
    await pty.sees(/sealift-gateway 1\.0\.0\r?\n[\s\S]*release sha256:[0-9a-f]{64}/);
    await pty.sees(/signed +1 of 1 builder signature: test-builder[\s\S]*NOT CHECKED +\S+: /);
    await pty.sees(/clientAddress:/);
    await pty.press("300.1", enter);
    await pty.sees(/want: IPv4 address of the host/);
    await pty.press(eraseLine, enter);
    await pty.sees(/clientPort:/);
    await pty.press("99999999", enter);
    await pty.sees(/want integer from 1 to 65535/);
    await pty.press(eraseLine, "8080", enter);
    await pty.sees(/publicNames:/);
    await pty.press(enter);
    await pty.sees(/Is the configuration right\?[\s\S]*Change clientPort: 8080[\s\S]*select/);
    await pty.press(down, down, enter);
    await pty.sees(/clientPort:/);
    await pty.press(String(PORT), enter);
    await pty.sees(new RegExp(`Is the configuration right\\?[\\s\\S]*Change clientPort: ${PORT}[\\s\\S]*select`));
    await pty.press(enter);
    await pty.sees(/plan: install[\s\S]*way back: sealift uninstall/);
    await pty.sees(KEY_QUESTION);
    await pty.press(enter);
    await pty.sees(/Key file:/);
    await pty.press("nowhere", enter);
    await pty.sees(/there is no such file/);
    await pty.press(eraseLine, site.site.operatorKey, enter);
    await pty.sees(/copy the release into the site's store/);
    await pty.sees(/✔ start 1\.0\.0 in blue/);
    await pty.sees(/1\.0\.0 runs in blue, authorized by alice/);
    await pty.sees(new RegExp(`Clients reach it at https://127\\.0\\.0\\.1:${PORT}`));
    await pty.sees(/First credentials, shown once and kept nowhere:\r?\n[\s\S]*? key: \S+/);
    await pty.sees(/then press Enter/);
    await pty.press(enter);
    assert.equal(await pty.ends(), 0, pty.text);
    assert.ok(pty.colours.includes("32"), "done is green");
    assert.match(pty.text, /Next: sealift status/);
    await site.assertAt("1.0.0");
  });

  it("is not asked for a bundle where the verb would refuse anyway", async () => {
    const pty = at(["install"]);
    assert.equal(await pty.ends(), 4);
    assert.match(pty.text, /\[INSTALL_EXISTS\][\s\S]*sealift upgrade BUNDLE/);
    assert.doesNotMatch(pty.text, /Bundle/);
  });

  it("stops an upgrade with Ctrl-C, and a second and third one do not end the way back", async () => {
    const pty = at(["upgrade", "next.tar", "--key", site.site.operatorKey], { environment: { NO_COLOR: "1" } });
    await pty.sees(/watch 1\.1\.0 for 10 s\s+› \d+ s to go/);
    await pty.press(interrupt, interrupt, interrupt);
    assert.equal(await pty.ends(), 130, pty.text);
    await pty.sees(/SIGINT: stopping/);
    await pty.sees(/✖ watch 1\.1\.0 for 10 s: stopped/);
    await pty.sees(/Going back to the old state:/);
    await pty.sees(/← taken back: send clients to 1\.1\.0 in green/);
    await pty.sees(/← taken back: copy the release into the site's store/);
    await pty.sees(/stopped; the old state is in place/);
    assert.doesNotMatch(pty.text, /✔ record 1\.1\.0|✔ take/);
    assert.deepEqual(pty.colours, [], "NO_COLOR");
    await site.assertAt("1.0.0");
  });

  it("brings the old state back when the terminal goes away in the middle", async () => {
    const pty = at(["upgrade", "next.tar", "--key", site.site.operatorKey, "--no-color"], { columns: 60 });
    await pty.sees(/watch 1\.1\.0 for 10 s\s+› \d+ s to go/);
    assert.deepEqual(pty.colours, [], "--no-color");
    await pty.vanish();
    const deadline = Date.now() + 60_000;
    while ((await site.status()).state === "unknown" && Date.now() < deadline) await sleep(500);
    await site.assertAt("1.0.0");
    assert.equal((await site.run("recover")).stdout, "nothing to recover\n");
  });
}

/** Of every file below it but the lock, which says who held it last. */
function digestOf(directory: string): string {
  const hash = createHash("sha256");
  for (const name of (readdirSync(directory, { recursive: true }) as string[]).sort()) {
    const path = join(directory, name);
    if (name === "lock") continue;
    hash.update(`${name}\0`);
    if (statSync(path).isFile()) hash.update(readFileSync(path));
  }
  return hash.digest("hex");
}
