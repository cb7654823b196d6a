/** OCI content descriptors (image-spec v1.1, descriptor.md). */
import type { Digest } from "./digest.ts";

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes, at most 2^53 - 1. */
  readonly size: number;
  readonly artifactType?: string;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** `linux/amd64`, `linux/arm64` or `os/architecture/variant`. */
export function platformText(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/");
}

export function parsePlatform(text: string): Platform | undefined {
  const parts = /^([a-z0-9]+)\/([a-z0-9]+)(?:\/([a-z0-9]+))?$/.exec(text);
  if (!parts) return undefined;
  const [, os, architecture, variant] = parts as unknown as [string, string, string, string?];
  return variant === undefined ? { os, architecture } : { os, architecture, variant };
}
