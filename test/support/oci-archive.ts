/** An image in both of a `docker save` tar's forms, which every scanner reads, from uncompressed layers. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface OciArchive {
  /** The tar. */
  readonly path: string;
  /** The compressed layers, the lowest first. */
  readonly layers: readonly string[];
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Makes DIRECTORY/image.tar; the layers are compressed with gzip. */
export async function writeOciArchive(directory: string, name: string, layers: readonly string[]): Promise<OciArchive> {
  const blobs = join(directory, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const put = (bytes: string | Buffer): { readonly digest: string; readonly size: number } => {
    const hex = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(blobs, hex), bytes);
    return { digest: `sha256:${hex}`, size: Buffer.byteLength(bytes) };
  };
  const compressed: string[] = [];
  const diffIds: string[] = [];
  for (const layer of layers) {
    const out = join(directory, "compressed");
    execFileSync("sh", ["-c", 'gzip -n -6 <"$0" >"$1"', layer, out]);
    const path = join(blobs, await sha256(out));
    renameSync(out, path);
    compressed.push(path);
    diffIds.push(`sha256:${await sha256(layer)}`);
  }
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const image = { architecture, os: "linux", config: {}, rootfs: { type: "layers", diff_ids: diffIds } };
  const config = put(JSON.stringify(image));
  const manifest = put(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
      layers: compressed.map((path) => ({
        mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
        digest: `sha256:${path.slice(-64)}`,
        size: statSync(path).size,
      })),
    }),
  );
  const listed = { mediaType: "application/vnd.oci.image.manifest.v1+json", ...manifest };
  const reference = `${name}:1`;
  const index = {
    schemaVersion: 2,
    manifests: [{ ...listed, annotations: { "org.opencontainers.image.ref.name": reference } }],
  };
  const short = (path: string): string => path.slice(path.indexOf("blobs/"));
  const docker = [
    { Config: `blobs/sha256/${config.digest.slice(7)}`, RepoTags: [reference], Layers: compressed.map(short) },
  ];
  writeFileSync(join(directory, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(join(directory, "index.json"), JSON.stringify(index));
  writeFileSync(join(directory, "manifest.json"), JSON.stringify(docker));
  const path = join(directory, "image.tar");
  execFileSync("tar", ["-C", directory, "-cf", path, "oci-layout", "index.json", "manifest.json", "blobs"]);
  return { path, layers: compressed };
}
