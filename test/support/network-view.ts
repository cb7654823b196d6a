/**
 * What a container can reach, seen from its own network namespace, and a way out of the test's machine that
 * counts what leaves. For use within `inOwnMachine`, which by itself has no way out at all.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { run } from "./offline-namespace.ts";
import { requirePeer } from "./peers.ts";

/** Addresses that are for documentation (RFC 5737): nobody's. */
export const UPLINK_ADDRESS = "198.51.100.1";
export const FOREIGN_ADDRESS = "192.0.2.1";
const NEXT_HOP = "198.51.100.254";

/**
 * Gives the machine a default route into the void, so that what would leave a real host leaves here too, and
 * can be counted.
 */
export function openUplink(): void {
  const ip = (...args: string[]): void => {
    const { status, stderr } = spawnSync(requirePeer("ip"), args);
    assert.equal(status, 0, `ip ${args.join(" ")}: ${stderr.toString()}`);
  };
  ip("link", "add", "uplink", "type", "veth", "peer", "name", "void");
  for (const name of ["uplink", "void"]) {
    // Else the kernel itself sends: router solicitations and the like.
    const path = `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`;
    if (existsSync(path)) writeFileSync(path, "1");
    ip("link", "set", name, "up");
  }
  ip("address", "add", `${UPLINK_ADDRESS}/24`, "dev", "uplink");
  ip("neighbour", "add", NEXT_HOP, "lladdr", "02:00:00:00:00:01", "dev", "uplink");
  ip("route", "add", "default", "via", NEXT_HOP);
}

/** Packets that left the machine since `openUplink`. */
export function packetsOut(): number {
  const line = readFileSync("/proc/self/net/dev", "utf8")
    .split("\n")
    .find((one) => one.trimStart().startsWith("uplink:"));
  // After the name: eight figures of what was received, then bytes and packets sent.
  const figures = line?.split(":")[1]?.trim().split(/\s+/) ?? assert.fail("no uplink");
  return Number(figures[9]);
}

/** `address:port` of every TCP socket that listens in the network namespace of this process. */
export function listening(): string[] {
  return ["tcp", "tcp6"].flatMap((name) => {
    const path = `/proc/self/net/${name}`;
    if (!existsSync(path)) return [];
    const rows = readFileSync(path, "utf8").trim().split("\n").slice(1);
    return rows
      .map((row) => row.trim().split(/\s+/))
      .filter(([, , , state]) => state === "0A")
      .map(([, local = ""]) => readable(local));
  });
}

function readable(local: string): string {
  const [address = "", port = ""] = local.split(":");
  const isIpv4 = address.length === 8;
  const host = isIpv4 ? [...Buffer.from(address, "hex")].reverse().join(".") : address;
  return `${host}:${Number.parseInt(port, 16)}`;
}

/** Whether the kernel of a process's network namespace knows a way to everywhere. */
export function hasDefaultRoute(pid: number): boolean {
  const rows = readFileSync(`/proc/${pid}/net/route`, "utf8").trim().split("\n").slice(1);
  const ipv4 = rows.some((row) => row.split("\t")[1] === "00000000");
  const path = `/proc/${pid}/net/ipv6_route`;
  const ipv6 = existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
  // Each namespace has an entry that refuses, on its loopback: flag 0x200, RTF_REJECT.
  return (
    ipv4 ||
    ipv6.some((row) => {
      const [to = "", bits, , , , , , , flags = "0"] = row.split(/\s+/);
      return /^0+$/.test(to) && bits === "00" && (Number.parseInt(flags, 16) & 0x200) === 0;
    })
  );
}

export interface Attempts {
  /** By `address:port`: "connected", or the error's code; "ETIMEDOUT" after two seconds. */
  readonly connections: Readonly<Record<string, string>>;
  /** By name, asked of the engine's name server: the error's code, or the addresses. */
  readonly names: Readonly<Record<string, string>>;
}

const ATTEMPT = `const { connect } = require("node:net");
const { Resolver } = require("node:dns").promises;
const [targets, names] = JSON.parse(process.argv[1]);
const reach = (target) => new Promise((resolve) => {
  const [host, port] = target.split(":");
  const socket = connect({ host, port: Number(port) });
  const end = (result) => { socket.destroy(); resolve([target, result]); };
  socket.setTimeout(2000, () => end("ETIMEDOUT"));
  socket.on("connect", () => end("connected")).on("error", ({ code }) => end(code));
});
const resolver = new Resolver({ timeout: 1000, tries: 1 });
resolver.setServers(["127.0.0.11"]);
const find = (name) => resolver.resolve4(name).then((found) => [name, found.join()], ({ code }) => [name, code]);
Promise.all([Promise.all(targets.map(reach)), Promise.all(names.map(find))]).then(([connections, found]) =>
  console.log(JSON.stringify({ connections: Object.fromEntries(connections), names: Object.fromEntries(found) })));`;

/** Tries to connect and to look names up, as a process of ours in the network namespace of process `pid`. */
export async function attempt(pid: number, targets: readonly string[], names: readonly string[]): Promise<Attempts> {
  const inside = ["-t", String(pid), "-n", "--", process.execPath, "--eval", ATTEMPT];
  const { code, stdout, stderr } = await run("nsenter", [...inside, JSON.stringify([targets, names])]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Attempts;
}
