/** What this program is made of, for the provenance of what it builds. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { ReleaseBuilder } from "../../bundles/model/release-provenance.ts";
import { sealiftVersion } from "./this-host.ts";

/** What runs when a release is built. Dependencies are in package-lock.json, by digest. */
const FILES = ["package-lock.json", "package.json", "sealift"];
const DIRECTORIES = ["bundles", "compose", "installer", "sbom", "verify"];
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const KIT_SBOM = "kit.cdx.json";
const KIT_COMMIT = "sealift:kit:commit";
/** What Git says of a node_modules that it ignores. */
const INSTALLED = /^!! (?:.*\/)?node_modules\/$/;
const COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** This program as a builder. Reads all of its files, some megabytes; from Git or the kit only which commit they are. */
export function ownBuilder(root: string = ROOT): ReleaseBuilder {
  return {
    sealiftVersion: sealiftVersion(),
    nodeVersion: process.versions.node,
    source: sourceDigest(root),
    commit: commitOf(root),
  };
}

/**
 * SHA-256 of a line `HEX  PATH` for each file, sorted by path, as sha256sum prints it: a checkout without changes and the kit
 * of its commit have the same (runbooks/verify-independently.md computes it). Links and what was installed do not count.
 */
export function sourceDigest(root: string): Digest {
  const lines = [...FILES, ...DIRECTORIES.flatMap((name) => filesBelow(root, name))]
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(
      (path) =>
        `${createHash("sha256")
          .update(readFileSync(join(root, path)))
          .digest("hex")}  ${path}\n`,
    );
  return digestOf(lines.join(""));
}

function filesBelow(root: string, directory: string): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory()) return entry.name === "node_modules" ? [] : filesBelow(root, path);
    return entry.isFile() ? [path] : [];
  });
}

/** Undefined in a checkout with changes, and where neither Git nor a kit says it: no commit is better than a wrong one. */
function commitOf(root: string): string | undefined {
  const commit = commitOfKit(root) ?? commitOfCheckout(root);
  return commit !== undefined && COMMIT.test(commit) ? commit : undefined;
}

function commitOfKit(root: string): string | undefined {
  try {
    const { metadata } = JSON.parse(readFileSync(join(root, KIT_SBOM), "utf8")) as {
      metadata?: { component?: { properties?: readonly { readonly name?: unknown; readonly value?: unknown }[] } };
    };
    const value = metadata?.component?.properties?.find(({ name }) => name === KIT_COMMIT)?.value;
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}

function commitOfCheckout(root: string): string | undefined {
  const git = (...args: readonly string[]): string =>
    execFileSync("git", ["-C", root, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    // Ignored files too: they are there when a release is built, whatever somebody's own settings say of them.
    const changes = git("status", "--porcelain", "--ignored", "--", ...FILES, ...DIRECTORIES).split("\n");
    if (changes.some((line) => line !== "" && !INSTALLED.test(line))) return undefined;
    return git("rev-parse", "--verify", "HEAD^{commit}");
  } catch {
    return undefined;
  }
}
