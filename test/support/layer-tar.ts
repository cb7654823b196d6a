/** Makes layer tars entry by entry, odd and hostile ones too, with the header encoder of the `tar` package. */
import { Header, type HeaderData } from "tar";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { OCI_LAYER_TAR } from "../../bundles/model/media-types.ts";
import type { ImageConfig } from "../../bundles/model/oci.ts";
import { imageSbom } from "../../sbom/generate/image-sbom.ts";
import { type LayerScan, scanLayer } from "../../sbom/generate/layer-scan.ts";

export const END = Buffer.alloc(1024);

export function padded(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** A header block; a name longer than 100 bytes must come in a pax or GNU header before it. */
export function header(data: HeaderData): Buffer {
  const made = new Header({ mode: 0o644, uid: 0, gid: 0, mtime: new Date(0), ...data });
  made.encode();
  return made.block as Buffer;
}

/** Writes the checksum anew after bytes of a header were changed. */
export function resealed(block: Buffer): Buffer {
  block.write("        ", 148, "latin1");
  let sum = 0;
  for (const byte of block.subarray(0, 512)) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

export function file(path: string, content: string | Buffer = "", mode = 0o644): Buffer {
  const size = Buffer.byteLength(content);
  return Buffer.concat([header({ path, size, mode, type: "File" }), padded(content)]);
}

export function directory(path: string): Buffer {
  return header({ path: `${path}/`, size: 0, mode: 0o755, type: "Directory" });
}

export function symlink(path: string, target: string): Buffer {
  return header({ path, linkpath: target, size: 0, type: "SymbolicLink" });
}

export function hardlink(path: string, target: string): Buffer {
  return header({ path, linkpath: target, size: 0, type: "Link" });
}

export function paxRecord(key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from("\n")]);
  let length = rest.length;
  while (length !== rest.length + String(length).length) length = rest.length + String(length).length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** A pax header for the next entry, or with `type` "GlobalExtendedHeader" for none. */
export function pax(
  records: Readonly<Record<string, string | Buffer>>,
  type: "ExtendedHeader" | "GlobalExtendedHeader" = "ExtendedHeader",
): Buffer {
  const body = Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, value)));
  return Buffer.concat([header({ path: "PaxHeader/x", size: body.length, type }), padded(body)]);
}

/** GNU's long name (`NextFileHasLongPath`) or long link for the next entry. */
export function gnuLong(
  name: string,
  type: "NextFileHasLongPath" | "NextFileHasLongLinkpath" = "NextFileHasLongPath",
): Buffer {
  const body = Buffer.from(`${name}\0`);
  return Buffer.concat([header({ path: "././@LongLink", size: body.length, type }), padded(body)]);
}

export function layer(...entries: readonly Buffer[]): Buffer {
  return Buffer.concat([...entries, END]);
}

export async function* chunksOf(bytes: Buffer, size = 64 * 1024): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export function scanOf(bytes: Buffer): Promise<LayerScan> {
  return scanLayer(chunksOf(bytes), OCI_LAYER_TAR);
}

export const OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n';

export function configOf(diffIds: readonly Digest[]): ImageConfig {
  return { architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: diffIds } };
}

/** The SBOM of an image with these uncompressed layers, as JSON. */
export async function sbomOf(...layers: readonly Buffer[]): Promise<PlainSbom> {
  return JSON.parse((await sbomBytesOf(...layers)).toString("utf8"));
}

export async function sbomBytesOf(...layers: readonly Buffer[]): Promise<Buffer> {
  const scans: LayerScan[] = [];
  for (const bytes of layers) scans.push(await scanOf(bytes));
  return imageSbom({
    name: "test",
    manifestDigest: digestOf("manifest"),
    config: configOf(layers.map((bytes) => digestOf(bytes))),
    scans,
    created: "2026-01-02T03:04:05Z",
    toolVersion: "0.0.0-test",
  });
}

export interface PlainComponent {
  readonly type: string;
  readonly name: string;
  readonly group?: string;
  readonly version?: string;
  readonly purl?: string;
  readonly "bom-ref": string;
  readonly licenses?: readonly unknown[];
  readonly properties?: readonly { readonly name: string; readonly value: string }[];
  readonly evidence?: {
    readonly occurrences: readonly { readonly location: string; readonly additionalContext: string }[];
  };
}

export interface PlainSbom {
  readonly serialNumber: string;
  readonly metadata: { readonly timestamp: string; readonly component: PlainComponent };
  readonly components: readonly PlainComponent[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[];
  readonly compositions: readonly {
    readonly aggregate: string;
    readonly assemblies?: readonly string[];
    readonly dependencies?: readonly string[];
  }[];
}

/** `name@version` of each listed package of a purl type, sorted; the operating system is none. */
export function packagesOf(sbom: PlainSbom, type: "deb" | "npm"): string[] {
  return sbom.components
    .filter((component) => component.purl?.startsWith(`pkg:${type}/`))
    .map(({ group, name, version }) => `${group ? `${group}/` : ""}${name}@${version}`)
    .sort();
}

export function propertiesOf(component: PlainComponent, name: string): string[] {
  return (component.properties ?? []).filter((property) => property.name === name).map((property) => property.value);
}
