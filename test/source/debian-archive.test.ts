import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { stringify } from "yaml";
import { type DebianQuery, newestPackages, verifyRelease } from "../../bundles/source/recipe/debian-archive.ts";
import { recipeSource } from "../../bundles/source/recipe/recipe-source.ts";
import { scratch } from "../support/scratch.ts";
import {
  type Mirror,
  packagesParagraph,
  type SyntheticDeb,
  startMirror,
  syntheticDeb,
} from "../support/synthetic-packages.ts";
import { coded } from "../support/test-trust.ts";

const missing = ["gpg", "gpgv", "xz"].find((tool) => spawnSync(tool, ["--version"]).error);
const skip = missing === undefined ? false : `${missing} is not on this machine`;

type UbuntuLists = Readonly<Record<"main" | "universe", readonly SyntheticDeb[]>>;

interface Archive {
  readonly mirror: Mirror;
  readonly keyring: string;
  readonly directory: string;
  sign(text: string): Buffer;
  publish(suite: string, debs: readonly SyntheticDeb[], changes?: Readonly<Record<string, string>>): void;
  publishUbuntu(suite: string, lists: UbuntuLists, changes?: Readonly<Record<string, string>>): void;
  query(packages: readonly string[], more?: Partial<DebianQuery>): ReturnType<typeof newestPackages>;
}

async function archive(t: TestContext): Promise<Archive> {
  const directory = await scratch(t);
  const mirror = await startMirror(t);
  const home = join(directory, "gnupg");
  await mkdir(home, { mode: 0o700 });
  const gpg = (args: readonly string[], input = "") =>
    execFileSync("gpg", ["--homedir", home, "--batch", "--quiet", "--passphrase", "", ...args], {
      input,
      stdio: ["pipe", "pipe", "ignore"],
    });
  gpg(["--quick-gen-key", "archive@test", "ed25519", "sign", "never"]);
  const keyring = join(directory, "keyring.gpg");
  await writeFile(keyring, gpg(["--export"]));
  t.after(() => execFileSync("gpgconf", ["--homedir", home, "--kill", "all"], { stdio: "ignore" }));
  const sign = (text: string) => gpg(["--clearsign"], text);
  const publishLists = (
    suite: string,
    fields: Readonly<Record<string, string>>,
    components: Readonly<Record<string, readonly SyntheticDeb[]>>,
  ): void => {
    const head = Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`);
    const lists = Object.entries(components).map(([component, debs]) => {
      const path = `${component}/binary-amd64/Packages.xz`;
      const packages = execFileSync("xz", ["--stdout"], { input: debs.map(packagesParagraph).join("\n") });
      mirror.files.set(`dists/${suite}/${path}`, packages);
      return ` ${createHash("sha256").update(packages).digest("hex")} ${packages.length} ${path}\n`;
    });
    mirror.files.set(`dists/${suite}/InRelease`, sign(`${head.join("")}SHA256:\n${lists.join("")}`));
  };
  return {
    mirror,
    keyring,
    directory,
    sign,
    publish(suite, debs, changes = {}) {
      const fields = {
        Origin: "Debian",
        Label: suite.endsWith("-security") ? "Debian-Security" : "Debian",
        Codename: suite,
        ...changes,
      };
      publishLists(suite, fields, { main: debs });
    },
    publishUbuntu(suite, lists, changes = {}) {
      const fields = { Origin: "Ubuntu", Label: "Ubuntu", Suite: suite, Codename: "noble", ...changes };
      publishLists(suite, fields, lists);
    },
    query: (packages, more = {}) =>
      newestPackages({
        suite: "trixie",
        packages,
        architecture: "amd64",
        cacheDir: join(directory, "cache"),
        keyring,
        onProgress: () => {},
        ...more,
      }),
  };
}

function publishAll(
  place: Archive,
  main: readonly SyntheticDeb[],
  changes: Readonly<Record<string, string>> = {},
): void {
  place.publish("trixie", main, changes);
  place.publish("trixie-updates", []);
  place.publish("trixie-security", []);
}

test("takes the newest version of suite, updates and security", { skip }, async (t) => {
  const place = await archive(t);
  const old = syntheticDeb("one", [], { version: "1.9-1" });
  const updated = syntheticDeb("one", [], { version: "1.10-1" });
  const secure = syntheticDeb("two", [], { version: "1:1.0-1", archive: "debian-security" });
  place.publish("trixie", [old, syntheticDeb("two", [], { version: "9.0-1" }), syntheticDeb("three", [])]);
  place.publish("trixie-updates", [updated]);
  place.publish("trixie-security", [secure]);
  assert.deepEqual(await place.query(["two", "one"]), [updated.input, secure.input]);
  await assert.rejects(place.query(["one", "four"]), coded("RECIPE_PACKAGE_UNKNOWN"));
});

const NOBLE = { distribution: "ubuntu", suite: "noble" } as const;

test("takes the newest version of Ubuntu's suite, updates and security, in main and universe", { skip }, async (t) => {
  const place = await archive(t);
  const of = (name: string, version: string) => syntheticDeb(name, [], { version, archive: "ubuntu" });
  const [docker, ssh] = [of("docker.io", "28.2.2-0ubuntu1"), of("openssh-client", "1:9.6p1-3ubuntu13.9")];
  place.publishUbuntu("noble", {
    main: [of("openssh-client", "1:9.6p1-3ubuntu13")],
    universe: [of("docker.io", "24")],
  });
  place.publishUbuntu("noble-updates", { main: [], universe: [docker] });
  place.publishUbuntu("noble-security", { main: [ssh], universe: [] });
  assert.deepEqual(await place.query(["openssh-client", "docker.io"], NOBLE), [docker.input, ssh.input]);
  await assert.rejects(place.query(["docker.io"]), coded("SOURCE_MIRROR_UNKNOWN"), "it is not Debian's");

  for (const changes of [{ Origin: "Debian" }, { Label: "Mallory" }, { Suite: "noble" }, { Codename: "plucky" }]) {
    place.publishUbuntu("noble-updates", { main: [], universe: [] }, changes);
    await assert.rejects(place.query([], NOBLE), coded("SOURCE_ARCHIVE_UNTRUSTED"), JSON.stringify(changes));
  }
});

test("goes on to the next mirror of Ubuntu where the first has no lists for the architecture", { skip }, async (t) => {
  const place = await archive(t);
  const docker = syntheticDeb("docker.io", [], { archive: "ubuntu" });
  for (const suite of ["noble", "noble-updates", "noble-security"]) {
    place.publishUbuntu(suite, { main: [docker], universe: [] });
  }
  const lists = new Map([...place.mirror.files].filter(([path]) => path.endsWith(".xz")));
  for (const [path, bytes] of lists) {
    place.mirror.files.set(`ports/${path}`, bytes);
    place.mirror.files.delete(path);
  }
  for (const [path, bytes] of [...place.mirror.files]) {
    if (path.endsWith("InRelease")) place.mirror.files.set(`ports/${path}`, bytes);
  }
  await assert.rejects(place.query(["docker.io"], NOBLE), coded("SOURCE_PACKAGE_GONE"));
  const { SEALIFT_UBUNTU_MIRROR: first } = process.env;
  try {
    process.env["SEALIFT_UBUNTU_MIRROR"] = `${first} ${first}/ports`;
    assert.deepEqual(await place.query(["docker.io"], NOBLE), [docker.input]);
  } finally {
    process.env["SEALIFT_UBUNTU_MIRROR"] = first;
  }
});

const untrusted: [string, (place: Archive) => void][] = [
  ["with another Codename", (place) => publishAll(place, [], { Codename: "sid" })],
  ["with another Label", (place) => publishAll(place, [], { Label: "Debian Backports" })],
  ["with another Origin", (place) => publishAll(place, [], { Origin: "Mallory" })],
  ["that ended", (place) => publishAll(place, [], { "Valid-Until": "Sat, 01 Jan 2022 00:00:00 UTC" })],
  ["whose end is no date", (place) => publishAll(place, [], { "Valid-Until": "soon" })],
  [
    "with a changed byte",
    (place) => {
      publishAll(place, []);
      const bytes = place.mirror.files.get("dists/trixie/InRelease") as Buffer;
      place.mirror.files.set("dists/trixie/InRelease", Buffer.from(bytes.toString().replace("SHA256:", "SHA255:")));
    },
  ],
  [
    "without a signature",
    (place) => {
      publishAll(place, []);
      place.mirror.files.set(
        "dists/trixie/InRelease",
        Buffer.from("Origin: Debian\nLabel: Debian\nCodename: trixie\n"),
      );
    },
  ],
  [
    "that names no package list",
    (place) => {
      publishAll(place, []);
      const text = "Origin: Debian\nLabel: Debian\nCodename: trixie\n";
      place.mirror.files.set("dists/trixie/InRelease", place.sign(text));
    },
  ],
];
for (const [what, prepare] of untrusted) {
  test(`refuses an archive ${what}`, { skip }, async (t) => {
    const place = await archive(t);
    prepare(place);
    await assert.rejects(place.query([]), coded("SOURCE_ARCHIVE_UNTRUSTED"));
  });
}

test("takes lists that ended only from a mirror that is said to be of that time", { skip }, async (t) => {
  const place = await archive(t);
  const one = syntheticDeb("one", []);
  publishAll(place, [one], { "Valid-Until": "Sat, 01 Jan 2022 00:00:00 UTC" });
  const at = async (time: string) => {
    process.env["SEALIFT_DEBIAN_SNAPSHOT"] = time;
    try {
      return await place.query(["one"]);
    } finally {
      delete process.env["SEALIFT_DEBIAN_SNAPSHOT"];
    }
  };
  assert.deepEqual(await at("2021-12-31T23:59:59Z"), [one.input]);
  await assert.rejects(at("2022-01-01T00:00:00Z"), coded("SOURCE_ARCHIVE_UNTRUSTED"));
  await assert.rejects(at(""), coded("SOURCE_ARCHIVE_UNTRUSTED"));
  for (const time of ["yesterday", "2021-12-31", "9999-01-01T00:00:00Z"]) {
    await assert.rejects(at(time), coded("SOURCE_MIRROR_UNKNOWN"), time);
  }
});

test("reads nothing that stands outside the signed part", { skip }, async (t) => {
  const place = await archive(t);
  const signed = place.sign("Origin: Debian\n").toString();
  const framed = Buffer.from(`Origin: Mallory\n\n${signed}\nLabel: Mallory\n`);
  // gpgv may refuse such a file altogether; what it must not do is to pass the frame on.
  const release = await verifyRelease(framed, place.keyring, "test").catch(() => undefined);
  assert.ok(release === undefined || (release.fields.get("Origin") === "Debian" && !release.fields.has("Label")));
});

test("refuses an archive that a key outside the keyring signed, and names a missing keyring", { skip }, async (t) => {
  const [place, other] = [await archive(t), await archive(t)];
  const signed = other.sign("Origin: Debian\n");
  await assert.rejects(verifyRelease(signed, place.keyring, "test"), coded("SOURCE_ARCHIVE_UNTRUSTED"));
  const nowhere = join(place.directory, "nothing.gpg");
  await assert.rejects(verifyRelease(signed, nowhere, "test"), coded("SOURCE_TOOL_MISSING"));
});

test("refuses a package list that InRelease does not name, and a suite that is nowhere", { skip }, async (t) => {
  const place = await archive(t);
  await assert.rejects(place.query([]), coded("SOURCE_MIRROR_UNKNOWN"));
  publishAll(place, []);
  const list = "dists/trixie/main/binary-amd64/Packages.xz";
  const bytes = place.mirror.files.get(list) as Buffer;
  place.mirror.files.set(list, Buffer.alloc(bytes.length));
  await assert.rejects(place.query([]), coded("SOURCE_INTEGRITY_MISMATCH"));
});

test("names the variable where the mirror's address is none", async (t) => {
  await startMirror(t);
  process.env["SEALIFT_DEBIAN_MIRROR"] = "ftp://somewhere";
  const query = {
    suite: "trixie",
    packages: [],
    architecture: "amd64",
    cacheDir: await scratch(t),
    onProgress: () => {},
  };
  await assert.rejects(newestPackages(query), (error: { code?: string; hints?: string[] }) => {
    assert.match(error.hints?.join() ?? "", /SEALIFT_DEBIAN_MIRROR=/);
    return error.code === "SOURCE_MIRROR_UNKNOWN";
  });
});

test("locks an npm package by the registry's sha512, and refuses a version that is not there", async (t) => {
  const root = await scratch(t);
  const mirror = await startMirror(t);
  const npm = [{ package: "@scope/tool", version: "1.2.3", files: { a: "/a" } }];
  await writeFile(join(root, "image.yaml"), stringify({ schemaVersion: 1, npm }));
  const context = {
    root,
    platform: "linux/amd64",
    cacheDir: join(root, "cache"),
    created: "2026-03-04T05:06:07Z",
    ignoreBuiltLayers: false,
    onProgress: () => {},
  };
  const source = recipeSource("image.yaml");
  await assert.rejects(source.lock(context), coded("RECIPE_PACKAGE_UNKNOWN"));
  const integrity = `sha512-${createHash("sha512").update("x").digest("base64")}`;
  mirror.files.set("@scope/tool/1.2.3", Buffer.from(JSON.stringify({ dist: { integrity: `sha1-AAAA ${integrity}` } })));
  const lock = await source.lock(context);
  assert.deepEqual(lock.kind === "recipe" && lock.npm, [{ name: "@scope/tool", version: "1.2.3", integrity }]);
  mirror.files.set("@scope/tool/1.2.3", Buffer.from(JSON.stringify({ dist: { integrity: "sha1-AAAA" } })));
  await assert.rejects(source.lock(context), coded("RECIPE_PACKAGE_UNKNOWN"));
});
