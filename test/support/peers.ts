/** The foreign programs that test/support/peers.sh brought, or why one is not there. */
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export type PeerName =
  | "age"
  | "cosign2"
  | "cosign3"
  | "oras"
  | "skopeo"
  | "registry"
  | "dockerd"
  | "docker"
  | "docker-compose"
  | "busybox"
  | "ip"
  | "softhsm2-util"
  | "mmdebstrap"
  | "newer-libc"
  | "chromium"
  | "rpm"
  | "par2";

/** What tests keep between runs; may be removed at any time. */
export function testCache(): string {
  return join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "sealift-test");
}

function directory(): string {
  return join(testCache(), "peers/bin");
}

/** The path of an executable, or undefined if it is not on this machine. */
export function peer(name: PeerName): string | undefined {
  const path = join(directory(), name);
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}

/** For the `skip` option of a test: false if all are there, else the reason why the first is not. */
export function skipWithout(...names: readonly PeerName[]): string | false {
  const name = names.find((one) => peer(one) === undefined);
  if (name === undefined) return false;
  try {
    return `${name}: ${readFileSync(join(directory(), `${name}.missing`), "utf8").trim()}`;
  } catch {
    return `${name} is not here; sh test/support/peers.sh brings it`;
  }
}

/** The path of a peer in a test that `skipWithout` guards. */
export function requirePeer(name: PeerName): string {
  const path = peer(name);
  if (path === undefined) throw new Error(`${name} is not here; sh test/support/peers.sh brings it`);
  return path;
}

/** pkcs11-tool and the module of a token in software, which come with `softhsm2-util`; and their environment. */
export function softToken(): { readonly tool: string; readonly module: string; readonly libraries: string } {
  const root = join(directory(), "../softhsm2-util/usr");
  const libraries = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map((triplet) => join(root, "lib", triplet)).join(":");
  return { tool: join(root, "bin/pkcs11-tool"), module: join(root, "lib/softhsm/libsofthsm2.so"), libraries };
}

/** The unpacked program itself, without its launcher, to be put into an image: only for a static one. */
export function peerFile(name: "busybox"): string {
  const root = join(directory(), "..", name);
  return [join(root, "usr/bin", name), join(root, "bin", name)].find((path) => existsSync(path)) ?? requirePeer(name);
}
