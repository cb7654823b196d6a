/** In which forms OSV records come. */
export type SnapshotKind = "record" | "lines" | "zip" | "tar" | "tar.gz" | "tar.zst";

const KINDS: readonly (readonly [pattern: RegExp, kind: SnapshotKind])[] = [
  [/\.json$/, "record"],
  [/\.(?:ndjson|jsonl)$/, "lines"],
  [/\.zip$/, "zip"],
  [/\.tar$/, "tar"],
  [/\.(?:tar\.gz|tgz)$/, "tar.gz"],
  [/\.(?:tar\.zst|tzst)$/, "tar.zst"],
];

/** What a file of this name holds; undefined if no records. */
export function snapshotKindOf(name: string): SnapshotKind | undefined {
  return KINDS.find(([pattern]) => pattern.test(name))?.[1];
}
