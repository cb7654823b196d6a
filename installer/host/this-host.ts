/** What a verb needs to know about the machine and the program that it runs on. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export function sealiftVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** `linux/amd64` or `linux/arm64`, whichever this machine is. */
export function hostPlatform(): string {
  return process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
}

/** Downloads and built layers; may be removed at any time. `$SEALIFT_CACHE`, else in the user's cache directory. */
export function cacheDirectory(): string {
  const { SEALIFT_CACHE, XDG_CACHE_HOME } = process.env;
  return SEALIFT_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "sealift");
}
