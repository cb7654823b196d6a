/** Image references as Docker writes them (github.com/distribution/reference, "grammar"), with Docker's defaults. */
import { isIPv4 } from "node:net";
import { type Digest, parseDigest } from "../model/digest.ts";
import { sourceError } from "./error.ts";

export interface RegistryReference {
  /** `host[:port]`, as users and `docker login` know it. */
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
  /** The reference in full: registry, repository, tag and digest. */
  readonly text: string;
}

const DOCKER_HUB = "docker.io";
/** Docker Hub answers the registry API under this name, and keeps logins under that key. */
const DOCKER_HUB_API = "registry-1.docker.io";
const DOCKER_HUB_AUTH_KEY = "https://index.docker.io/v1/";

const HOST =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$/;
const REPOSITORY = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;

/**
 * Reads `[host[:port]/]repository[:tag][@sha256:…]`. Without a host it is Docker Hub's, without tag and
 * digest it is the tag `latest`. With both, the digest decides.
 * @throws SOURCE_REFERENCE_MALFORMED
 */
export function parseReference(text: string): RegistryReference {
  const refuse = (problem: string): never => {
    throw sourceError("SOURCE_REFERENCE_MALFORMED", `registry: got ${JSON.stringify(text)}, ${problem}`, {
      hints: ["want HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]"],
    });
  };
  if (text.length > 1024) refuse("longer than 1024 characters");
  if (/^[a-z]+:\/\//.test(text)) refuse("want a reference, not an address");
  const at = text.indexOf("@");
  const name = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1));
  if (at >= 0 && digest === undefined) refuse("its digest is not sha256: and 64 hexadecimal digits");
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const hasHost = /[.:A-Z[]/.test(first) || first === "localhost";
  const registry = hasHost ? first : DOCKER_HUB;
  let rest = hasHost ? name.slice(slash + 1) : name;
  const colon = rest.lastIndexOf(":");
  const tag = colon < 0 ? undefined : rest.slice(colon + 1);
  if (colon >= 0) rest = rest.slice(0, colon);
  if (!HOST.test(registry)) refuse(`${JSON.stringify(registry)} is not a host`);
  if (tag !== undefined && !TAG.test(tag)) refuse(`${JSON.stringify(tag)} is not a tag`);
  if (!REPOSITORY.test(rest)) refuse(`${JSON.stringify(rest)} is not a repository name`);
  const repository = registry === DOCKER_HUB && !rest.includes("/") ? `library/${rest}` : rest;
  const known = tag ?? (digest === undefined ? "latest" : undefined);
  const full = `${registry}/${repository}${known === undefined ? "" : `:${known}`}${digest === undefined ? "" : `@${digest}`}`;
  return {
    registry,
    repository,
    ...(known === undefined ? {} : { tag: known }),
    ...(digest === undefined ? {} : { digest }),
    text: full,
  };
}

/** Where the registry answers: plain HTTP on the loopback interface, as Docker has it, and else HTTPS. */
export function registryOrigin(registry: string): string {
  const host = registry === DOCKER_HUB ? DOCKER_HUB_API : registry;
  return isLoopback(new URL(`http://${host}`).hostname) ? `http://${host}` : `https://${host}`;
}

/** Under which keys of config.json's `auths` a login for the registry may lie. */
export function credentialKeys(registry: string): string[] {
  if (registry === DOCKER_HUB) return [DOCKER_HUB_AUTH_KEY, DOCKER_HUB];
  return [registry, `https://${registry}`, `https://${registry}/`, `http://${registry}`, `http://${registry}/`];
}

/** `hostname` as `URL` has it. */
export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || (isIPv4(hostname) && hostname.startsWith("127."));
}
