/** Debian and npm packages made in memory, hostile ones too, and a loopback server that has them. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import type { DebianInput, NpmInput } from "../../bundles/model/appliance.ts";
import { digestOf, hexOf } from "../../bundles/model/digest.ts";
import { END, file } from "./layer-tar.ts";

export interface SyntheticDeb {
  readonly input: DebianInput;
  readonly bytes: Buffer;
}

export interface DebOptions {
  readonly version?: string;
  readonly architecture?: string;
  /** Lines after those that every control file has. */
  readonly control?: string;
  readonly md5sums?: string;
  readonly archive?: DebianInput["archive"];
}

/** A .deb with `entries` (blocks of layer-tar.ts) as its files. */
export function syntheticDeb(name: string, entries: readonly Buffer[], options: DebOptions = {}): SyntheticDeb {
  const { version = "1.0-1", architecture = "amd64", control = "", md5sums = "", archive = "debian" } = options;
  const fields = `Package: ${name}\nVersion: ${version}\nArchitecture: ${architecture}\nMaintainer: nobody\n${control}`;
  const bytes = Buffer.concat([
    Buffer.from("!<arch>\n"),
    member("debian-binary", Buffer.from("2.0\n")),
    member("control.tar.gz", tgz([file("./control", fields), ...(md5sums ? [file("./md5sums", md5sums)] : [])])),
    member("data.tar.gz", tgz(entries)),
  ]);
  const path = `pool/main/${name[0]}/${name}/${name}_${version}_${architecture}.deb`;
  const sha256 = digestOf(bytes);
  return { input: { package: name, version, architecture, archive, path, sha256, size: bytes.length }, bytes };
}

function member(name: string, content: Buffer): Buffer {
  const head = `${name.padEnd(16)}${"0".padEnd(12)}${"0".padEnd(6)}${"0".padEnd(6)}${"100644".padEnd(8)}${String(content.length).padEnd(10)}\`\n`;
  return Buffer.concat([Buffer.from(head), content, Buffer.from(content.length % 2 ? "\n" : "")]);
}

function tgz(entries: readonly Buffer[]): Buffer {
  return gzipSync(Buffer.concat([...entries, END]));
}

export interface SyntheticNpm {
  readonly input: NpmInput;
  readonly path: string;
  readonly bytes: Buffer;
}

export function syntheticNpm(name: string, version: string, entries: readonly Buffer[]): SyntheticNpm {
  const bytes = tgz(entries);
  const integrity = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
  return { input: { name, version, integrity }, path: `${name}/-/${name.split("/").at(-1)}-${version}.tgz`, bytes };
}

export interface Mirror {
  readonly url: string;
  /** Path without the first slash → what it answers; may be changed while the server runs. */
  readonly files: Map<string, Buffer>;
  readonly requests: string[];
}

/**
 * Serves `files` on loopback as Debian's mirror, as its security mirror and as npm's registry, which the
 * variables of the recipe source then name until the test ends.
 */
export async function startMirror(context: { after(work: () => Promise<void>): void }): Promise<Mirror> {
  const files = new Map<string, Buffer>();
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? "").slice(1));
    requests.push(path);
    const bytes = files.get(path);
    response.writeHead(bytes ? 200 : 404).end(bytes ?? "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const variables = ["DEBIAN_MIRROR", "DEBIAN_SECURITY_MIRROR", "UBUNTU_MIRROR", "NPM_REGISTRY"].map(
    (name) => `SEALIFT_${name}`,
  );
  const before = variables.map((name) => process.env[name]);
  for (const name of variables) process.env[name] = url;
  context.after(async () => {
    for (const [i, name] of variables.entries()) {
      if (before[i] === undefined) delete process.env[name];
      else process.env[name] = before[i];
    }
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url, files, requests };
}

/** A paragraph of a Packages file. */
export function packagesParagraph({ input }: SyntheticDeb): string {
  return [
    `Package: ${input.package}`,
    `Version: ${input.version}`,
    `Architecture: ${input.architecture}`,
    `Description: synthetic\n continued`,
    `Filename: ${input.path}`,
    `Size: ${input.size}`,
    `SHA256: ${hexOf(input.sha256)}`,
    "",
  ].join("\n");
}
