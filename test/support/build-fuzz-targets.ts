/** Targets of the fuzzer (fuzz-targets.ts): what the connected side builds a release and a kit from. */
import assert from "node:assert/strict";
import { generateKeyPairSync, scryptSync } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import {
  lockPath,
  readApplianceDirectory,
  readComposeFile,
  readLock,
} from "../../bundles/assemble/appliance-directory.ts";
import { parseKitLock } from "../../bundles/kit/debian-packages.ts";
import { blobName, INDEX_FILE } from "../../bundles/layout/layout.ts";
import { composeProblems } from "../../bundles/model/compose-template.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { OCI_INDEX, OCI_MANIFEST } from "../../bundles/model/media-types.ts";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { encryptPrivateKey, parsePrivateKey } from "../../bundles/sign/key-file.ts";
import { layoutSource } from "../../bundles/source/oci-layout.ts";
import { parseControl } from "../../bundles/source/recipe/debian-archive.ts";
import { workspaceClosure } from "../../bundles/source/recipe/package-lock.ts";
import { readRecipe } from "../../bundles/source/recipe/recipe.ts";
import { listTar } from "../../bundles/source/recipe/tar-reader.ts";
import { readLogin } from "../../bundles/source/registry-credentials.ts";
import { accepted, acceptedLater, codes, type FuzzTarget, fuzzDirectory } from "./fuzz-target.ts";
import { file, hardlink, layer, pax, symlink } from "./layer-tar.ts";
import { smallImage } from "./small-bundle.ts";

const source = (path: string): Buffer => readFileSync(new URL(`../../${path}`, import.meta.url));
const seed = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** Writes an input where a reader looks for it; `name` is relative to a directory of the target's own. */
function put(name: string, data: Buffer | string): string {
  const path = join(fuzzDirectory(), name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, data);
  return path;
}

const APPLIANCE = source("compose/appliance.yaml");
const LOCK = JSON.parse(source("compose/appliance.lock.json").toString("utf8"));
const [platform = ""] = Object.keys(LOCK.platforms);
const [first = ""] = Object.keys(LOCK.platforms[platform]);
/** One image, with one package: the whole one is longer than the fuzzer's inputs. */
const [debian] = LOCK.platforms[platform][first].debian;
const smallLock = {
  ...LOCK,
  platforms: { [platform]: { [first]: { ...LOCK.platforms[platform][first], debian: [debian] } } },
};
const KIT_LOCK = source("bundles/kit/debian-packages.lock.json");

const integrity = `sha512-${"A".repeat(86)}==`;
const packageLock = {
  lockfileVersion: 3,
  packages: {
    "": { name: "root", dependencies: { a: "^1", w: "*" } },
    "packages/w": { name: "w", version: "1.0.0", dependencies: { a: "*" }, optionalDependencies: { b: "*" } },
    "node_modules/w": { resolved: "packages/w", link: true },
    "node_modules/a": { version: "1.0.0", integrity, peerDependencies: { b: "*" }, os: ["linux"], cpu: "!arm" },
    "node_modules/a/node_modules/b": { version: "2.0.0", integrity, libc: ["glibc"] },
  },
};

const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const PASSWORD = "correct horse";
/** The least that scrypt may cost, in this process a hundredth of what cosign writes. */
const SCRYPT = { N: 1024, r: 1, p: 1 };
const pem = (body: Buffer): string =>
  `-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n${body.toString("base64")}\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n`;

/** The body of a key file whose secret content is `der`. */
function encrypted(der: Uint8Array): Buffer {
  const [salt, nonce] = [Buffer.alloc(32, 1), Buffer.alloc(24, 2)];
  const secret = scryptSync(PASSWORD, salt, 32, SCRYPT);
  return seed({
    kdf: { name: "scrypt", params: SCRYPT, salt: salt.toString("base64") },
    cipher: { name: "nacl/secretbox", nonce: nonce.toString("base64") },
    ciphertext: Buffer.from(xsalsa20poly1305(secret, nonce).encrypt(der)).toString("base64"),
  });
}

const pkcs8 = key.export({ format: "der", type: "pkcs8" });
const image = smallImage({ name: "a" }, "2026-01-02T03:04:05Z", "linux/amd64");
const entry = { mediaType: OCI_MANIFEST, digest: digestOf(image.manifest), size: image.manifest.length };
const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [entry] };

/** Locks the layout with this index, in which `manifest` lies. */
async function lockLayout(index: Buffer, manifest: Buffer): Promise<void> {
  put(`layout/${INDEX_FILE}`, index);
  for (const [digest, bytes] of image.blobs) put(`layout/${blobName(digest)}`, bytes);
  const blob = put(`layout/${blobName(digestOf(manifest))}`, manifest);
  const context = { root: fuzzDirectory(), platform: "linux/amd64", cacheDir: "x", created: "x" };
  const locking = { ...context, ignoreBuiltLayers: false, onProgress: (): void => {} };
  await acceptedLater(() => layoutSource("layout").lock(locking));
  rmSync(blob);
}

export const buildFuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  "appliance file": {
    isAsync: true,
    seeds: [APPLIANCE, source("compose/compose.yaml"), source("compose/config.schema.json")],
    run: async (data) => {
      const appliance = await acceptedLater(() => readApplianceDirectory(put("build/appliance.yaml", data)));
      put("build/compose.yaml", data);
      const root = join(fuzzDirectory(), "build");
      const parts = { compose: "compose.yaml" };
      const directory = { path: join(root, "a.yaml"), root, appliance: { ...appliance?.appliance, ...parts } } as never;
      const template = await acceptedLater(() => readComposeFile(directory));
      accepted(() =>
        composeProblems(template, { images: ["gateway"], files: ["test-model"], configSchema: {} } as never),
      );
    },
  },
  "appliance's lock": {
    isAsync: true,
    seeds: [seed(smallLock)],
    run: async (data) => {
      const path = join(fuzzDirectory(), "build/appliance.yaml");
      put("build/appliance.yaml", "");
      writeFileSync(lockPath(path), data);
      await acceptedLater(() => readLock({ path } as never));
    },
  },
  "kit's lock": codes(parseKitLock, KIT_LOCK),
  recipe: {
    isAsync: true,
    seeds: [source("compose/images/node.yaml"), source("compose/images/front.yaml")],
    run: async (data) => {
      put("recipes/base.yaml", "schemaVersion: 1\n");
      put("recipes/a.yaml", data);
      await acceptedLater(() => readRecipe(join(fuzzDirectory(), "recipes"), "a.yaml"));
    },
  },
  "npm's lock": {
    seeds: [seed(packageLock)],
    run: (data) => {
      for (const workspace of ["", "packages/w"]) accepted(() => workspaceClosure(data, workspace, "amd64"));
    },
  },
  "private key": {
    seeds: [encrypted(pkcs8), pkcs8, Buffer.from(encryptPrivateKey(key, PASSWORD))],
    run: (data) => {
      // As the file, as what its PEM holds, and as what its password guards.
      for (const text of [data.toString("latin1"), pem(data), pem(encrypted(data))]) {
        const read = accepted(() => parsePrivateKey(text, PASSWORD, "a.key"));
        if (read) assert.equal(keyFingerprint(read).length, 64);
      }
    },
  },
  "engine's logins": {
    isAsync: true,
    seeds: [seed({ auths: { "r.example": { auth: "YTpi" } }, credHelpers: { "x.example": "y" }, credsStore: "z" })],
    run: async (data) => {
      const path = put("config.json", data);
      const login = await acceptedLater(() => readLogin("r.example", path));
      if (login?.basic !== undefined) assert.ok(Buffer.from(login.basic, "base64").includes(":"));
    },
  },
  "paragraph of Debian's": {
    seeds: [Buffer.from("Package: a\nVersion: 1\nDescription: x\n y\n\tz\nSHA256: 00\n")],
    run: (data) => {
      for (const [name] of parseControl(data.toString("utf8"))) assert.ok(name !== "" && !name.includes(":"));
    },
  },
  "tar of a package": {
    seeds: [
      layer(
        file("package/package.json", "{}"),
        symlink("a", "b"),
        hardlink("c", "package/package.json"),
        pax({ path: "d/e" }),
        file("x", "abc"),
      ),
    ],
    run: (data) => {
      const path = put("package.tar", data);
      for (const { path: name, position, size } of accepted(() => listTar(path, "a")) ?? []) {
        assert.ok(!name.startsWith("/") && !name.split("/").includes(".."), "a path that leads out");
        assert.ok(position + size <= data.length);
      }
    },
  },
  "another program's layout": {
    isAsync: true,
    seeds: [seed(index), image.manifest],
    run: async (data) => {
      await lockLayout(data, image.manifest);
      const only = { ...entry, digest: digestOf(data), size: data.length };
      await lockLayout(seed({ ...index, manifests: [only] }), data);
    },
  },
};
