/**
 * Bundles that must be denied, each with the code that says why. One table for the unit test, which judges
 * them in this process, and for the end-to-end test, which sends each through the command line and the cage.
 */
import { gzipSync } from "node:zlib";
import { blobName, INDEX_FILE, LAYOUT_FILE } from "../../bundles/layout/layout.ts";
import {
  type NewSignatureObject,
  renderKeyBundle,
  renderSigstoreReferrer,
  renderSimpleSigning,
} from "../../bundles/layout/signature-object.ts";
import { BLOCK_BYTES } from "../../bundles/layout/tar-format.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import {
  OCI_MANIFEST,
  PREDICATE_COSIGN_SIGN,
  PREDICATE_CYCLONEDX,
  PREDICATE_SLSA_PROVENANCE,
  SIGSTORE_BUNDLE,
} from "../../bundles/model/media-types.ts";
import type { Manifest } from "../../bundles/model/oci.ts";
import { readOvmf } from "../../bundles/model/ovmf.ts";
import { REBUILD_TYPE } from "../../bundles/model/rebuild.ts";
import { measureProcessors, type ReferenceLaunch } from "../../bundles/model/release-attestation.ts";
import { renderReleaseProvenance } from "../../bundles/model/release-provenance.ts";
import type { Role } from "../../bundles/model/signing-roles.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import type { Policy } from "../../verify/policy.ts";
import type { Check } from "../../verify/verdict.ts";
import {
  makeSigner,
  makeSigners,
  mergeObjects,
  type SignedBundle,
  type SignedBundleOptions,
  type Signer,
  type Signers,
  signAs,
  signedBundle,
  signedFiles,
  smallTrust,
} from "./signed-bundle.ts";
import { renderTar, SMALL_BUILDER, type SmallReleaseOptions, smallRelease, smallRules } from "./small-bundle.ts";
import { smallOvmf } from "./small-ovmf.ts";
import {
  type Files,
  flipped,
  imageDescriptor,
  type JsonObject,
  objectAbout,
  parseObject,
  withBlob,
  withContent,
  withManifest,
  withoutFile,
  withSigstoreJson,
} from "./tamper.ts";

/** What `verify` gets to see. */
export interface Exhibit {
  readonly bytes: Buffer;
  readonly trustFiles: ReadonlyMap<string, Buffer>;
  readonly policy?: Partial<Policy>;
  readonly at?: string;
}

export interface BadBundle {
  /** Ends the sentence "refuses …". */
  readonly name: string;
  /** A finding of this check with this code must be there. */
  readonly check: Check;
  readonly code: string;
  readonly make: () => Exhibit;
}

const signers: Signers = makeSigners();
const good: SignedBundle = signedBundle({ signers });

export const goodExhibit: Exhibit = { bytes: renderTar(signedFiles(good)), trustFiles: good.trustFiles };

const cases: BadBundle[] = [];

function bad(check: Check, code: string, name: string, make: () => Exhibit): void {
  cases.push({ name, check, code, make });
}

/** The good bundle with other files. */
function badFiles(check: Check, code: string, name: string, change: (files: Files) => Files): void {
  bad(check, code, name, () => ({ ...goodExhibit, bytes: renderTar(change(signedFiles(good))) }));
}

/** The good bundle's tar with other bytes. */
function badTar(check: Check, code: string, name: string, change: (tar: Buffer) => Buffer): void {
  bad(check, code, name, () => ({ ...goodExhibit, bytes: change(Buffer.from(goodExhibit.bytes)) }));
}

/** The good bundle with other signature objects, consistently listed. */
function badObjects(
  check: Check,
  code: string,
  name: string,
  change: (objects: readonly NewSignatureObject[]) => readonly NewSignatureObject[],
): void {
  bad(check, code, name, () => ({
    ...goodExhibit,
    bytes: renderTar(signedFiles({ small: good.small, objects: [...change(good.objects)] })),
  }));
}

/** Another release, signed by everybody who must. */
function badRelease(
  check: Check,
  code: string,
  name: string,
  options: SmallReleaseOptions | (() => SmallReleaseOptions),
  policy?: Partial<Policy>,
): void {
  bad(check, code, name, () => {
    const small = smallRelease(typeof options === "function" ? options() : options);
    const bundle = signedBundle({ small, signers });
    return { bytes: renderTar(signedFiles(bundle)), trustFiles: bundle.trustFiles, ...(policy ? { policy } : {}) };
  });
}

/** The good release signed otherwise. */
function badSigning(check: Check, code: string, name: string, options: () => SignedBundleOptions): void {
  bad(check, code, name, () => {
    const bundle = signedBundle({ small: good.small, signers, ...options() });
    return { bytes: renderTar(signedFiles(bundle)), trustFiles: bundle.trustFiles };
  });
}

const { release } = good.small;
const gateway = imageDescriptor(good.small, "gateway");
const audit = imageDescriptor(good.small, "audit");
const image = release.images.get("gateway")?.manifest as Manifest;
const documents = release.manifest.images.find(({ name }) => name === "gateway") as {
  sbom: Digest;
  provenance: Digest;
};
const about = (kind: NewSignatureObject["kind"], subject: Digest, predicateType?: string): NewSignatureObject =>
  objectAbout(good.objects, kind, subject, predicateType);
const releaseBundle = about("sigstore-bundle", release.descriptor.digest);
const releaseSimple = about("simple-signing", release.descriptor.digest);
const [builder, security, releaser] = [signers.builder[0], signers.security[0], signers.release[0]] as [
  Signer,
  Signer,
  Signer,
];
const replace =
  (old: NewSignatureObject, ...now: NewSignatureObject[]) =>
  (objects: readonly NewSignatureObject[]): NewSignatureObject[] => [...objects.filter((item) => item !== old), ...now];

// A changed byte in every kind of blob.
for (const [what, digest, check] of [
  ["a layer", image.layers[0]?.digest, "layout"],
  ["an image's configuration", image.config.digest, "layout"],
  ["an image's manifest", gateway.digest, "release"],
  ["the release index", release.descriptor.digest, "release"],
  ["the release document", release.document.manifest.config.digest, "release"],
  ["the Compose template", release.manifest.compose, "layout"],
  ["an SBOM", documents.sbom, "layout"],
  ["a provenance document", documents.provenance, "layout"],
  ["the manifest of a signature", releaseBundle.descriptor.digest, "layout"],
  ["a Sigstore bundle", releaseBundle.blobs[1]?.digest, "layout"],
  ["a cosign 2 payload", releaseSimple.blobs[1]?.digest, "layout"],
] as [string, Digest, Check][]) {
  badFiles("digests", "LAYOUT_DIGEST_MISMATCH", `a flipped bit in ${what}`, (files) =>
    withContent(files, blobName(digest), (bytes) => flipped(bytes, bytes.length >> 1)),
  );
  badFiles(check, "LAYOUT_BLOB_MISSING", `a bundle without ${what}`, (files) => withoutFile(files, blobName(digest)));
}

// The tar itself.
const HEADER_FIELDS = { mode: 100, owner: 108, size: 124, time: 136, "type flag": 156, magic: 257, reserve: 500 };
for (const [field, at] of Object.entries(HEADER_FIELDS)) {
  badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", `a flipped bit in a tar header's ${field}`, (tar) => flipped(tar, at));
}
badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", "a flipped bit in a tar header's checksum", (tar) => flipped(tar, 148));
badTar("layout", "LAYOUT_FOREIGN_FILE", "a file of another name under a rightly made header", () =>
  renderTar([["oci-layouu", Buffer.from("{}")], ...signedFiles(good)]),
);
badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", "a byte in the padding after a file", (tar) =>
  flipped(tar, BLOCK_BYTES + 100),
);
badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", "a byte in the first end block", (tar) => flipped(tar, -2 * BLOCK_BYTES));
badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", "a byte in the second end block", (tar) => flipped(tar, -1));
badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", "bytes after the end", (tar) => Buffer.concat([tar, Buffer.alloc(1)]));
badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", "a second archive after the end", (tar) => Buffer.concat([tar, tar]));
badTar("layout", "LAYOUT_TRUNCATED", "a bundle cut within a blob", (tar) => tar.subarray(0, tar.length >> 1));
badTar("layout", "LAYOUT_TRUNCATED", "a bundle cut by one byte", (tar) => tar.subarray(0, -1));
badTar("layout", "LAYOUT_TRUNCATED", "a bundle without its end", (tar) => tar.subarray(0, -2 * BLOCK_BYTES));

// Files.
badFiles("layout", "LAYOUT_FOREIGN_FILE", "a blob more", (files) => withBlob(files, Buffer.from("stowaway")));
badFiles("layout", "LAYOUT_FOREIGN_FILE", "a file of a foreign name", (files) => [
  ...files,
  ["evil.sh", Buffer.alloc(9)],
]);
badFiles("layout", "LAYOUT_FOREIGN_FILE", "a name that climbs out", (files) => [
  ...files,
  ["blobs/sha256/../../x", Buffer.alloc(9)],
]);
badFiles("layout", "LAYOUT_DUPLICATE_FILE", "a name twice with the same bytes", (files) => [
  ...files,
  files[1] as Files[number],
]);
badFiles("layout", "LAYOUT_DUPLICATE_FILE", "index.json twice with other bytes", (files) => [
  ...files,
  [INDEX_FILE, Buffer.from("{}")],
]);
badFiles("layout", "LAYOUT_ORDER", "two files in the wrong order", ([first, second, third, ...rest]) => [
  first as Files[number],
  third as Files[number],
  second as Files[number],
  ...rest,
]);
badFiles("digests", "LAYOUT_DIGEST_MISMATCH", "two blobs that have exchanged their contents", (files) => {
  const names = [blobName(gateway.digest), blobName(audit.digest)];
  const [one, other] = names.map((name) => files.find(([file]) => file === name)?.[1]) as [Buffer, Buffer];
  return files.map(([name, bytes]) => [name, name === names[0] ? other : name === names[1] ? one : bytes]);
});
badFiles("digests", "LAYOUT_DIGEST_MISMATCH", "a layer that is a byte short", (files) =>
  withContent(files, blobName(image.layers[0]?.digest as Digest), (bytes) => bytes.subarray(0, -1)),
);
badFiles("layout", "LAYOUT_SIZE_MISMATCH", "a layer that is a byte long", (files) =>
  withContent(files, blobName(image.layers[0]?.digest as Digest), (bytes) => Buffer.concat([bytes, Buffer.alloc(1)])),
);
badFiles("layout", "LAYOUT_BLOB_MISSING", "a bundle without index.json", (files) => withoutFile(files, INDEX_FILE));
badFiles("layout", "LAYOUT_BLOB_MISSING", "a bundle without oci-layout", (files) => withoutFile(files, LAYOUT_FILE));
badFiles("layout", "LAYOUT_NOT_A_LAYOUT", "another layout version", (files) =>
  withContent(files, LAYOUT_FILE, () => Buffer.from('{"imageLayoutVersion":"1.1.0"}')),
);
badFiles("layout", "LAYOUT_NOT_A_LAYOUT", "more files than a bundle may have", () =>
  Array.from({ length: 8200 }, (_, i) => [blobName(digestOf(String(i))), Buffer.alloc(0)]),
);

// index.json.
function badIndex(code: string, name: string, change: (index: { manifests: JsonObject[] }) => unknown): void {
  badFiles("layout", code, name, (files) =>
    withContent(files, INDEX_FILE, (bytes) => {
      const index = parseObject(bytes) as { manifests: JsonObject[] };
      return canonicalJson(change(index) ?? index);
    }),
  );
}
badFiles("layout", "LAYOUT_INDEX_DIFFERS", "an index.json spelled otherwise", (files) =>
  withContent(files, INDEX_FILE, (bytes) => Buffer.from(JSON.stringify(parseObject(bytes), null, 2))),
);
badFiles("layout", "LAYOUT_INDEX_DIFFERS", "an index.json with a member twice", (files) =>
  withContent(files, INDEX_FILE, (bytes) => Buffer.from(bytes.toString().replace("{", '{"schemaVersion":2,'))),
);
badIndex("LAYOUT_INDEX_DIFFERS", "an index.json with a member more", (index) => ({ ...index, extra: 1 }));
badIndex("LAYOUT_INDEX_DIFFERS", "a release under another version's tag", ({ manifests }) => {
  (manifests[0] as JsonObject)["annotations"] = { "org.opencontainers.image.ref.name": "2.0.0" };
});
badIndex("LAYOUT_INDEX_DIFFERS", "a release under another media type", ({ manifests }) => {
  (manifests[0] as JsonObject)["mediaType"] = OCI_MANIFEST;
});
badIndex("LAYOUT_INDEX_DIFFERS", "an image under another image's tag", ({ manifests }) => {
  (manifests[1] as JsonObject)["annotations"] = { "org.opencontainers.image.ref.name": "gateway" };
});
const entryOf = (manifests: JsonObject[], object: NewSignatureObject): JsonObject =>
  manifests.find(({ digest }) => digest === object.descriptor.digest) as JsonObject;
badIndex("LAYOUT_INDEX_DIFFERS", "a signature listed with a tag of its own", ({ manifests }) => {
  const entry = entryOf(manifests, releaseBundle);
  entry["annotations"] = { ...(entry["annotations"] as object), "org.opencontainers.image.ref.name": "latest" };
});
badIndex("LAYOUT_INDEX_DIFFERS", "a signature listed with a member that nobody knows", ({ manifests }) => {
  entryOf(manifests, releaseBundle)["data"] = "c3Rvd2F3YXk=";
});
badIndex("LAYOUT_INDEX_DIFFERS", "a signature listed under another media type", ({ manifests }) => {
  entryOf(manifests, releaseBundle)["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json";
});
badIndex("LAYOUT_INDEX_DIFFERS", "a signature listed twice", ({ manifests }) => {
  manifests.push(entryOf(manifests, releaseBundle));
});
badIndex("LAYOUT_FOREIGN_FILE", "a signature that is there but not listed", (index) => ({
  ...index,
  manifests: index.manifests.filter(({ digest }) => digest !== releaseSimple.descriptor.digest),
}));
badIndex("LAYOUT_BLOB_MISSING", "a signature that is listed but not there", ({ manifests }) => {
  manifests.push({ ...entryOf(manifests, releaseBundle), digest: digestOf("nothing") });
});
badIndex("LAYOUT_NOT_A_LAYOUT", "two releases", ({ manifests }) => {
  manifests.push({ ...(manifests[0] as JsonObject), digest: gateway.digest });
});
badIndex("LAYOUT_NOT_A_LAYOUT", "no release", ({ manifests }) => {
  manifests.shift();
});
const signatureEntry = { mediaType: OCI_MANIFEST, digest: gateway.digest, size: gateway.size };
badIndex("LAYOUT_FOREIGN_FILE", "an image that is listed as a signature", ({ manifests }) => {
  manifests.push({ ...signatureEntry, artifactType: SIGSTORE_BUNDLE });
});
badIndex("LAYOUT_SIZE_MISMATCH", "a signature of another size than listed", ({ manifests }) => {
  entryOf(manifests, releaseBundle)["size"] = 1;
});
for (const [what, bytes] of [
  ["that is not JSON", "{"],
  ["that is null", "null"],
  ["that is not UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
  ["nested a million deep", `${"[".repeat(1_000_000)}${"]".repeat(1_000_000)}`],
  ["with a member nested 200,000 deep", nestedIndex(200_000)],
  ["of 5,000 entries", canonicalJson({ schemaVersion: 2, manifests: Array(5000).fill(signatureEntry) })],
  ["with a size beyond 2^53", '{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:00","size":1e99}]}'],
] as [string, string | Buffer][]) {
  badFiles("layout", "OCI_MALFORMED", `an index.json ${what}`, (files) =>
    withContent(files, INDEX_FILE, () => Buffer.from(bytes as string)),
  );
}
badFiles("layout", "LAYOUT_SIZE_MISMATCH", "an index.json of 5 MiB", (files) =>
  withContent(files, INDEX_FILE, () => Buffer.alloc(5 * 1024 * 1024, " ")),
);

/** A rightly formed index whose first entry has a member as deep as asked. */
function nestedIndex(levels: number): string {
  const [index] = signedFiles(good).slice(-1) as Files;
  const deep = `{"x":${"[".repeat(levels)}${"]".repeat(levels)},`;
  return (index?.[1].toString() ?? "").replace('"manifests":[{', `"manifests":[${deep}`);
}

// Not a bundle at all.
const noise = Buffer.alloc(20_000);
for (let i = 0, x = 1; i < noise.length; i += 1) {
  x = (x * 1103515245 + 12345) & 0x7fffffff;
  noise[i] = x >> 16;
}
badTar("layout", "LAYOUT_TRUNCATED", "an empty file", () => Buffer.alloc(0));
badTar("layout", "LAYOUT_TRUNCATED", "a file of 100 bytes", () => noise.subarray(0, 100));
badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", "noise", () => noise);
badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", "a bundle in gzip", (tar) => gzipSync(tar));
badTar("layout", "LAYOUT_BLOB_MISSING", "an empty tar", () => Buffer.alloc(2 * BLOCK_BYTES));
badTar("layout", "LAYOUT_TAR_NOT_CANONICAL", "zeros", () => Buffer.alloc(64 * BLOCK_BYTES));

// Who signed, and how many.
badSigning("signatures", "SIGNATURE_UNKNOWN_KEY", "a signature of a key that the trust does not know", () => ({
  signatures: [
    ["builder", builder],
    ["security", security],
    ["release", makeSigner("rob-release")],
  ],
}));
badSigning("signatures", "SIGNATURE_UNKNOWN_KEY", "another publisher's trust", () => {
  const other = makeSigners();
  return {
    signers: other,
    signatures: [
      ["builder", builder],
      ["security", security],
      ["release", releaser],
    ],
  };
});
for (const role of ["builder", "security", "release"] as Role[]) {
  badSigning("signatures", "SIGNATURE_MISSING", `a release that ${role} has not signed`, () => ({
    signatures: (["builder", "security", "release"] as Role[])
      .filter((other) => other !== role)
      .map((other) => [other, signers[other][0] as Signer] as const),
  }));
}
const pair = { ...signers, release: [releaser, makeSigner("rita-release")] };
const three = ["builder", "security", "release"] as const;
const once = three.map((role) => [role, signers[role][0] as Signer] as const);
badSigning("signatures", "SIGNATURE_THRESHOLD", "one signature where two are asked for", () => ({
  signers: pair,
  thresholds: { release: 2 },
  signatures: once,
}));
badSigning("signatures", "SIGNATURE_THRESHOLD", "two signatures of one key where two keys are asked for", () => ({
  signers: pair,
  thresholds: { release: 2 },
  signatures: [...once, ["release", releaser]],
}));
const builders = { ...signers, builder: [builder, makeSigner("bea-builder")] };
bad("sbom", "SIGNATURE_THRESHOLD", "one builder's SBOM attestations where two are asked for", () => {
  const [, second] = builders.builder as [Signer, Signer];
  const overRelease = signAs(good.small, "security", second);
  const objects = mergeObjects([...good.objects, ...overRelease]);
  const trustFiles = smallTrust(builders, { thresholds: { builder: 2 } });
  return { bytes: renderTar(signedFiles({ small: good.small, objects })), trustFiles };
});
badSigning("signatures", "SIGNATURE_MISSING", "the builder's key in place of the release role's", () => ({
  signatures: [
    ["builder", builder],
    ["security", security],
    ["release", builder],
  ],
}));
badObjects("images", "SIGNATURE_ROLE_DENIED", "an image signed by the release role", (objects) => [
  ...objects,
  ...signAs(good.small, "builder", releaser).filter(
    ({ kind, subject }) => kind === "sigstore-bundle" && subject === gateway.digest,
  ),
]);
badSigning("signatures", "SIGNATURE_ROLE_DENIED", "provenance of the release by the release role", () => ({
  signatures: [...once, ["builder", releaser]],
}));

// Trust.
badSigning("trust", "TRUST_KEY_REUSED", "a trust in which one key serves two roles", () => ({
  edit: (files) => {
    const { delegations } = (files.get("1.targets.json") as { signed: Delegating }).signed;
    delegations.roles["release"] = Object.assign(Object.create(Object.getPrototypeOf(delegations.roles["release"])), {
      ...delegations.roles["release"],
      keyIDs: delegations.roles["builder"]?.keyIDs,
    });
  },
}));
badSigning("trust", "TRUST_HOLDER_TWICE", "a trust in which one holder has two keys of a role", () => ({
  signers: pair,
  edit: (files) => {
    const { delegations } = (files.get("1.targets.json") as { signed: Delegating }).signed;
    for (const id of delegations.roles["release"]?.keyIDs ?? []) {
      const key = delegations.keys[id];
      if (key) key.unrecognizedFields["x-sealift-holder"] = "rob-release";
    }
  },
}));
badSigning("trust", "TRUST_THRESHOLD", "a trust that asks for more keys than a role has", () => ({
  edit: (files) => {
    const { delegations } = (files.get("1.targets.json") as { signed: Delegating }).signed;
    Object.assign(delegations.roles["release"] as object, { threshold: 2 });
  },
}));
interface Delegating {
  readonly delegations: {
    readonly keys: Record<string, { unrecognizedFields: Record<string, unknown> }>;
    readonly roles: Record<string, { readonly keyIDs: readonly string[] }>;
  };
}
bad("trust", "TRUST_EXPIRED", "a trust that has expired by the time of judging", () => ({
  ...goodExhibit,
  at: "2031-01-01T00:00:00Z",
}));
for (const [what, change] of [
  ["that is no JSON", (files) => files.set("timestamp.json", Buffer.from("{"))],
  [
    "nested a hundred thousand deep",
    (files) => files.set("timestamp.json", Buffer.from("[".repeat(1e5) + "]".repeat(1e5))),
  ],
  ["without a snapshot", (files) => files.delete("1.snapshot.json")],
  [
    "with a signed member changed",
    (files) =>
      files.set(
        "1.root.json",
        Buffer.from(String(files.get("1.root.json")).replace('"_type":"root"', '"_type":"targets"')),
      ),
  ],
] as [string, (files: Map<string, Buffer>) => void][]) {
  bad("trust", "TRUST_MALFORMED", `a trust ${what}`, () => {
    const files = new Map(good.trustFiles);
    change(files);
    return { ...goodExhibit, trustFiles: files };
  });
}
bad("trust", "TRUST_THRESHOLD", "a trust whose targets root has not signed", () => {
  const files = new Map(good.trustFiles);
  files.set("1.targets.json", smallTrust(signers).get("1.targets.json") as Buffer);
  return { ...goodExhibit, trustFiles: files };
});

// What was signed, and about what.
const signed = (signer: Signer, subject: Digest, predicateType: string, predicate: unknown): Buffer =>
  signStatement(signer.key, statementFor(subject, predicateType, predicate));
const without =
  (...gone: NewSignatureObject[]) =>
  (objects: readonly NewSignatureObject[]): NewSignatureObject[] =>
    objects.filter((object) => !gone.includes(object));
const gatewaySbom = about("sigstore-bundle", gateway.digest, PREDICATE_CYCLONEDX);
const gatewayProvenance = about("sigstore-bundle", gateway.digest, PREDICATE_SLSA_PROVENANCE);
const sbomOf = (name: string): unknown => parseObject(good.small.sboms.get(name) as Buffer);
badObjects("sbom", "SIGNATURE_MISSING", "an image without an SBOM attestation", without(gatewaySbom));
badObjects("provenance", "SIGNATURE_MISSING", "an image without a provenance attestation", without(gatewayProvenance));
badObjects(
  "images",
  "SIGNATURE_MISSING",
  "an image that nobody signed",
  without(about("sigstore-bundle", gateway.digest, PREDICATE_COSIGN_SIGN), about("simple-signing", gateway.digest)),
);
badObjects(
  "images",
  "SIGNATURE_FOREIGN_SUBJECT",
  "an attestation attached to another image",
  replace(
    gatewaySbom,
    renderSigstoreReferrer(
      gateway,
      PREDICATE_CYCLONEDX,
      signed(builder, audit.digest, PREDICATE_CYCLONEDX, sbomOf("audit")),
    ),
  ),
);
badObjects(
  "images",
  "SIGNATURE_FOREIGN_SUBJECT",
  "a cosign 2 signature under another image's tag",
  replace(
    about("simple-signing", gateway.digest),
    renderSimpleSigning(
      gateway.digest,
      about("simple-signing", audit.digest).signatures.filter((item) => item.kind === "simple-signing"),
    ),
  ),
);
badObjects(
  "sbom",
  "SIGNATURE_OTHER_PREDICATE",
  "an attestation with the SBOM of another image",
  replace(
    gatewaySbom,
    renderSigstoreReferrer(
      gateway,
      PREDICATE_CYCLONEDX,
      signed(builder, gateway.digest, PREDICATE_CYCLONEDX, sbomOf("audit")),
    ),
  ),
);
badObjects(
  "provenance",
  "SIGNATURE_OTHER_PREDICATE",
  "an attestation whose provenance is not the document in the release",
  replace(
    gatewayProvenance,
    renderSigstoreReferrer(
      gateway,
      PREDICATE_SLSA_PROVENANCE,
      signed(builder, gateway.digest, PREDICATE_SLSA_PROVENANCE, { buildDefinition: {} }),
    ),
  ),
);
badObjects("images", "SIGNATURE_ROLE_DENIED", "an attestation of a type that the table does not know", (objects) => [
  ...objects,
  renderSigstoreReferrer(
    gateway,
    "https://example.com/x",
    signed(builder, gateway.digest, "https://example.com/x", {}),
  ),
]);
badObjects("images", "SIGNATURE_STATEMENT_REFUSED", "a statement about two things", (objects) => {
  const statement = parseObject(statementFor(gateway.digest, PREDICATE_COSIGN_SIGN, {}));
  statement["subject"] = [gateway, audit].map(({ digest }) => ({ digest: { sha256: digest.slice(7) } }));
  return [
    ...objects,
    renderSigstoreReferrer(gateway, PREDICATE_COSIGN_SIGN, signStatement(builder.key, canonicalJson(statement))),
  ];
});
badObjects("images", "SIGNATURE_FOREIGN_SUBJECT", "the signatures of an older release, replayed", (objects) => {
  const older = smallRelease({ version: "0.9.0" });
  return [...objects, ...mergeObjects(signAs(older, "release", releaser))];
});
bad("signatures", "SIGNATURE_MISSING", "a new release that carries only an older one's signatures", () => {
  const older = signedBundle({ small: smallRelease({ version: "0.9.0" }), signers });
  return { ...goodExhibit, bytes: renderTar(signedFiles({ small: good.small, objects: older.objects })) };
});
badObjects("images", "SIGNATURE_FOREIGN_SUBJECT", "a signature about a blob that is no image", (objects) => {
  const config = { mediaType: "application/json", digest: image.config.digest, size: 10 };
  return [
    ...objects,
    renderSigstoreReferrer(config, PREDICATE_COSIGN_SIGN, signed(builder, config.digest, PREDICATE_COSIGN_SIGN, {})),
  ];
});

// The unsigned parts of signature objects.
const edited = (change: (json: JsonObject) => void) => (json: Buffer) => {
  const value = parseObject(json);
  change(value);
  return canonicalJson(value);
};
const NOT_CANONICAL = "SIGNATURE_NOT_CANONICAL";
for (const [what, change] of [
  ["white space", (json) => Buffer.concat([json, Buffer.from("\n")])],
  ["a member more", edited((json) => Object.assign(json, { stowaway: "c3Rvd2F3YXk=" }))],
  ["a log entry", edited((json) => Object.assign(json["verificationMaterial"] as object, { tlogEntries: [] }))],
  [
    "another key's hint",
    edited((json) => Object.assign(json["verificationMaterial"] as object, { publicKey: { hint: "AAAA" } })),
  ],
  [
    "another spelling of its media type",
    edited((json) => Object.assign(json, { mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.3" })),
  ],
] as [string, (json: Buffer) => Buffer][]) {
  badObjects("signatures", NOT_CANONICAL, `a Sigstore bundle with ${what}`, (objects) =>
    replace(releaseBundle, withSigstoreJson(releaseBundle, change))(objects),
  );
}
badObjects("signatures", NOT_CANONICAL, "a signature's manifest with an annotation more", (objects) =>
  replace(
    releaseBundle,
    withManifest(releaseBundle, (manifest) =>
      Object.assign(manifest["annotations"] as object, { "org.example.stowaway": "x" }),
    ),
  )(objects),
);
badObjects("signatures", NOT_CANONICAL, "a cosign 2 manifest with a member more", (objects) =>
  replace(
    releaseSimple,
    withManifest(releaseSimple, (manifest) => Object.assign(manifest, { annotations: { a: "b" } })),
  )(objects),
);
badObjects("signatures", NOT_CANONICAL, "two cosign 2 manifests about one release", (objects) => {
  const one = renderSimpleSigning(
    release.descriptor.digest,
    releaseSimple.signatures.filter((item) => item.kind === "simple-signing").slice(0, 1),
  );
  return [...objects, one];
});
const payload = Buffer.from(JSON.stringify({ a: 1 }));
const junk = (json: Buffer): NewSignatureObject => withSigstoreJson(releaseBundle, () => json);
for (const [what, json] of [
  ["that is no JSON", Buffer.from("{")],
  ["that is null", Buffer.from("null")],
  ["nested 100,000 deep", Buffer.from("[".repeat(1e5) + "]".repeat(1e5))],
  ["of 8 MiB of brackets", Buffer.from(`[${"{},".repeat(2_800_000)}{}]`)],
  ["with a payload type of 1 MB", bundleWith({ payloadType: "x".repeat(1_000_000) })],
  ["with two signatures", bundleWith({ signatures: [{ sig: "AA==" }, { sig: "AA==" }] })],
  ["with a message signature", Buffer.from(JSON.stringify({ mediaType: SIGSTORE_BUNDLE, messageSignature: {} }))],
] as [string, Buffer][]) {
  badObjects("signatures", "SIGNATURE_MALFORMED", `a Sigstore bundle ${what}`, (objects) => [...objects, junk(json)]);
}
badObjects("signatures", "SIGNATURE_UNKNOWN_KEY", "a Sigstore bundle with an empty signature", (objects) => [
  ...objects,
  junk(renderKeyBundle({ payload, signature: Buffer.from([0]), hint: "" })),
]);

function bundleWith(envelope: JsonObject): Buffer {
  const bundle = parseObject(renderKeyBundle({ payload, signature: Buffer.from("x"), hint: "x" }));
  return canonicalJson({ ...bundle, dsseEnvelope: { ...(bundle["dsseEnvelope"] as object), ...envelope } });
}

// A release that is rightly signed, but must not be deployed.
const compose = (service: JsonObject, more: JsonObject = {}): SmallReleaseOptions => ({
  compose: (references) => ({
    services: {
      gateway: { image: references.get("gateway"), ...service },
      front: { image: references.get("gateway") },
    },
    "x-sealift": smallRules("gateway"),
    ...more,
  }),
});
badRelease("compose", "COMPOSE_NOT_PINNED", "a tag in the Compose template", compose({ image: "gateway:latest" }));
badRelease("compose", "COMPOSE_NOT_PINNED", "a registry in the Compose template", () =>
  compose({ image: `registry.example/gateway@${gateway.digest}` }),
);
badRelease(
  "compose",
  "COMPOSE_FOREIGN_IMAGE",
  "a digest in the Compose template that is not in the release",
  compose({ image: `gateway@${digestOf("other")}` }),
);
badRelease(
  "compose",
  "COMPOSE_FOREIGN_IMAGE",
  "an image's digest under another image's name",
  compose({ image: `gateway@${audit.digest}` }),
);
for (const member of [
  "privileged",
  "cap_add",
  "devices",
  "network_mode",
  "pid",
  "ipc",
  "userns_mode",
  "build",
  "extends",
]) {
  badRelease("compose", "COMPOSE_NOT_ALLOWED", `a service with ${member}`, compose({ [member]: ["x"] }));
}
for (const volume of [
  "/:/host",
  "/var/run/docker.sock:/x",
  "./x:/x",
  "~/x:/x",
  "unnamed:/x",
  { type: "bind", source: "/", target: "/x" },
]) {
  badRelease("compose", "COMPOSE_NOT_ALLOWED", `the volume ${JSON.stringify(volume)}`, compose({ volumes: [volume] }));
}
badRelease(
  "compose",
  "COMPOSE_NOT_ALLOWED",
  "a security option that widens",
  compose({ security_opt: ["seccomp:unconfined"] }),
);
badRelease(
  "compose",
  "COMPOSE_NOT_ALLOWED",
  "a named volume that is a bind mount in disguise",
  compose({}, { volumes: { data: { driver_opts: { type: "none", o: "bind", device: "/" } } } }),
);
badRelease("compose", "COMPOSE_MALFORMED", "a Compose template without services", { compose: () => ({}) });
badRelease("compose", "COMPOSE_MALFORMED", "a Compose template without the appliance's rules", {
  compose: (references) => ({ services: { gateway: { image: references.get("gateway") } } }),
});
badRelease(
  "compose",
  "COMPOSE_NOT_ALLOWED",
  "a front that would be made anew with each release",
  compose({}, { "x-sealift": { ...smallRules("gateway"), base: ["gateway"] } }),
);
badRelease("compose", "COMPOSE_MALFORMED", "a Compose template with an include", compose({}, { include: ["x.yaml"] }));
badRelease("sbom", "SBOM_FOREIGN_SUBJECT", "SBOMs that have exchanged their images", () => {
  const images = smallRelease().release.manifest.images;
  const [first, second] = images as [(typeof images)[number], (typeof images)[number]];
  return {
    release: {
      images: [
        { ...first, sbom: second.sbom },
        { ...second, sbom: first.sbom },
      ],
    },
  };
});
badRelease("sbom", "SBOM_EMPTY", "an SBOM that lists nothing", { sbom: (sbom) => ({ ...sbom, components: [] }) });
badRelease("sbom", "SBOM_MALFORMED", "an SBOM that is none", { sbom: () => ({ bomFormat: "SPDX" }) });
badRelease("provenance", "PROVENANCE_MALFORMED", "provenance without a builder", {
  provenance: (value) => ({ ...value, runDetails: {} }),
});
badRelease("provenance", "PROVENANCE_MALFORMED", "provenance with an input without a digest", {
  provenance: (value) => ({
    ...value,
    buildDefinition: { ...(value["buildDefinition"] as object), resolvedDependencies: [{ uri: "x" }] },
  }),
});
badRelease(
  "provenance",
  "PROVENANCE_FOREIGN_BUILDER",
  "a builder that the policy does not accept",
  {},
  {
    builders: ["https://example.com/builder"],
  },
);
badRelease(
  "provenance",
  "PROVENANCE_FOREIGN_BUILD_TYPE",
  "a build type that the policy does not accept",
  {},
  {
    buildTypes: ["https://example.com/type"],
  },
);
badRelease(
  "provenance",
  "PROVENANCE_FOREIGN_SOURCE",
  "an input from where the policy accepts none",
  {},
  {
    sources: ["pkg:deb/debian/"],
  },
);
badRelease(
  "provenance",
  "PROVENANCE_UNLOCKED_INPUT",
  "an input that is neither in the lock nor excepted by the policy",
  {},
  {
    unlockedInputs: ["compose/"],
  },
);
for (const digest of [{ md5: "0".repeat(32) }, { sha1: "0".repeat(40) }, { sha256: "0" }, { sha256: 7 }]) {
  badRelease("provenance", "PROVENANCE_WEAK_DIGEST", `provenance with an input by ${JSON.stringify(digest)}`, {
    provenance: (value) => ({
      ...value,
      buildDefinition: { ...(value["buildDefinition"] as object), resolvedDependencies: [{ uri: "x", digest }] },
    }),
  });
}

// What a builder may say of the release as a whole.
const releaseProvenance = about("sigstore-bundle", release.descriptor.digest, PREDICATE_SLSA_PROVENANCE);
badObjects("provenance", "SIGNATURE_MISSING", "a release without provenance of its own", without(releaseProvenance));
badObjects(
  "provenance",
  "SIGNATURE_MISSING",
  "a release with an image's provenance instead",
  replace(releaseProvenance, gatewayProvenance),
);

interface Saying {
  readonly buildType: string;
  readonly externalParameters: JsonObject;
  readonly inputs: JsonObject[];
  readonly builder: JsonObject;
}

/** The builder's statement about the good release, changed. */
export function releaseProvenanceSaying(change: (says: Saying) => Partial<Saying>): NewSignatureObject {
  const { buildDefinition, runDetails } = renderReleaseProvenance(release.manifest, SMALL_BUILDER) as {
    buildDefinition: { buildType: string; externalParameters: JsonObject; resolvedDependencies: JsonObject[] };
    runDetails: { builder: JsonObject };
  };
  const { resolvedDependencies: inputs, ...rest } = buildDefinition;
  const says = { ...rest, inputs, ...runDetails };
  const { buildType, externalParameters, inputs: said, builder: by } = { ...says, ...change(structuredClone(says)) };
  return renderSigstoreReferrer(
    release.descriptor,
    PREDICATE_SLSA_PROVENANCE,
    signed(builder, release.descriptor.digest, PREDICATE_SLSA_PROVENANCE, {
      buildDefinition: { buildType, externalParameters, resolvedDependencies: said },
      runDetails: { builder: by },
    }),
  );
}

const isInput = (uri: string) => (input: JsonObject) => String(input["uri"]).startsWith(uri);
const withInput =
  (uri: string, edit: (input: JsonObject) => JsonObject[]) =>
  ({ inputs }: Saying): Partial<Saying> => ({
    inputs: inputs.flatMap((input) => (isInput(uri)(input) ? edit(input) : [input])),
  });
const gatewayUri = "pkg:oci/gateway@";
const otherSha256 = { sha256: "e".repeat(64) };
const stray = { uri: "https://evil.example/tool", digest: otherSha256 };
for (const [code, name, change] of [
  ["PROVENANCE_MALFORMED", "without a builder", () => ({ builder: {} })],
  ["PROVENANCE_MALFORMED", "whose input has no digest", withInput("sealift:lock", () => [{ uri: "sealift:lock" }])],
  ["PROVENANCE_FOREIGN_BUILD_TYPE", "of a rebuild", () => ({ buildType: REBUILD_TYPE })],
  [
    "PROVENANCE_FOREIGN_BUILDER",
    "by another builder than the images'",
    () => ({ builder: { id: "https://b.example" } }),
  ],
  [
    "PROVENANCE_OTHER_RELEASE",
    "with another version among its parameters",
    ({ externalParameters }) => ({ externalParameters: { ...externalParameters, version: "9.9.9" } }),
  ],
  ["PROVENANCE_INPUT_MISSING", "that leaves an image out", withInput(gatewayUri, () => [])],
  ["PROVENANCE_INPUT_MISSING", "that leaves the lock out", withInput("sealift:lock", () => [])],
  ["PROVENANCE_INPUT_MISSING", "that leaves a carried file out", withInput("sealift:file/", () => [])],
  [
    "PROVENANCE_INPUT_MISSING",
    "that names an image by another digest",
    withInput(gatewayUri, (input) => [{ ...input, digest: otherSha256 }]),
  ],
  [
    "PROVENANCE_INPUT_MISSING",
    "that names another provenance of an image",
    withInput(gatewayUri, (input) => [{ ...input, annotations: { provenance: `sha256:${"e".repeat(64)}` } }]),
  ],
  ["PROVENANCE_INPUT_MISSING", "that does not say which program built", withInput("pkg:generic/sealift@", () => [])],
  [
    "PROVENANCE_INPUT_MISSING",
    "that names two programs which built",
    withInput("pkg:generic/sealift@", (input) => [input, { ...input, digest: otherSha256 }]),
  ],
  [
    "PROVENANCE_WEAK_DIGEST",
    "that names the program by a commit alone",
    withInput("pkg:generic/sealift@", (input) => [{ ...input, digest: { gitCommit: "c0".repeat(20) } }]),
  ],
  [
    "PROVENANCE_WEAK_DIGEST",
    "that names the program by another digest than SHA-256",
    withInput("pkg:generic/sealift@", (input) => [
      { ...input, digest: { sha1: "0".repeat(40), sha512: "0".repeat(128) } },
    ]),
  ],
  ["PROVENANCE_UNACCOUNTED_INPUT", "that names an image twice", withInput(gatewayUri, (input) => [input, input])],
  ["PROVENANCE_UNACCOUNTED_INPUT", "with an input from elsewhere", ({ inputs }) => ({ inputs: [...inputs, stray] })],
] as readonly (readonly [string, string, (says: Saying) => Partial<Saying>])[]) {
  badObjects("provenance", code, `provenance of the release ${name}`, (objects) =>
    replace(releaseProvenance, releaseProvenanceSaying(change))(objects),
  );
}
badObjects(
  "provenance",
  "PROVENANCE_UNACCOUNTED_INPUT",
  "false provenance of the release beside the true one",
  (objects) => [...objects, releaseProvenanceSaying(({ inputs }) => ({ inputs: [...inputs, stray] }))],
);
badRelease(
  "provenance",
  "PROVENANCE_FOREIGN_BUILDER_SOURCE",
  "a release built by a program that the policy does not accept",
  {},
  { builderSources: [digestOf("other sources"), "d0".repeat(20)] },
);

badRelease("images", "IMAGE_MALFORMED", "an image for another processor", {
  images: [{ name: "gateway", config: (config) => ({ ...config, architecture: "arm64" }) }],
});
badRelease("images", "IMAGE_MALFORMED", "an image whose configuration misses a layer", {
  images: [{ name: "gateway", config: (config) => ({ ...config, rootfs: { type: "layers", diff_ids: [] } }) }],
});
badRelease("images", "IMAGE_MALFORMED", "an image with a layer that lies elsewhere", {
  images: [{ name: "gateway", layerType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" }],
});
badRelease("images", "OCI_MALFORMED", "an image whose configuration is none", {
  images: [{ name: "gateway", config: () => ({}) }],
});

/** A release that carries `ovmf` and says this of its launch; the digests are those of `launch`, or `digest`. */
export function measuredRelease(
  change: Partial<ReferenceLaunch> = {},
  digest?: (right: string) => string,
): SmallReleaseOptions {
  const image = smallOvmf();
  const launch = {
    vmm: "qemu",
    firmware: { file: "ovmf", digest: digestOf(image) },
    guestFeatures: "0x1",
    kernel: { digest: digestOf(Buffer.from("kernel")) },
    commandLine: "console=ttyS0",
  } as const;
  const measured = measureProcessors(launch, readOvmf(image), [{ vcpus: 2, cpu: "EPYC-Milan" }]);
  const measurements = measured.map(({ processors, digest: right }) => ({
    ...processors,
    digest: digest?.(right) ?? right,
  }));
  return {
    files: [{ name: "ovmf", mediaType: "application/octet-stream", bytes: image }],
    release: { attestation: { sevSnp: [{ ...launch, measurements, ...change }] } },
  };
}
badRelease("attestation", "RELEASE_LAUNCH_DIGEST", "a launch digest that is nobody's", () =>
  measuredRelease({}, () => "1".repeat(96)),
);
badRelease("attestation", "RELEASE_LAUNCH_DIGEST", "launch digests of another command line", () =>
  measuredRelease({ commandLine: "console=ttyS0 debug" }),
);
badRelease("attestation", "RELEASE_LAUNCH_DIGEST", "launch digests of another kernel", () =>
  measuredRelease({ kernel: { digest: digestOf(Buffer.from("other")) } }),
);
badRelease("attestation", "RELEASE_LAUNCH_INPUT", "launch digests of another firmware than the one carried", () =>
  measuredRelease({ firmware: { file: "ovmf", digest: digestOf(smallOvmf({ content: "other" })) } }),
);
badRelease("attestation", "ATTEST_OVMF_MALFORMED", "a launch whose firmware is none", () => {
  const bytes = Buffer.alloc(4096);
  return {
    ...measuredRelease({ firmware: { file: "ovmf", digest: digestOf(bytes) } }),
    files: [{ name: "ovmf", mediaType: "application/octet-stream", bytes }],
  };
});
badRelease("release", "RELEASE_MALFORMED", "a launch with a file that is not carried", () =>
  measuredRelease({ kernel: { file: "vmlinuz", digest: digestOf(Buffer.from("kernel")) } }),
);

// A release that is right, but not for here.
badRelease(
  "identity",
  "RELEASE_FOREIGN_APPLIANCE",
  "another appliance than the policy names",
  {},
  { appliance: "other" },
);
badRelease("identity", "RELEASE_FOREIGN_CHANNEL", "another channel than the policy names", {}, { channels: ["beta"] });
badRelease("identity", "RELEASE_TOO_OLD", "an older release than the policy allows", {}, { minimumVersion: "1.0.1" });
badRelease("identity", "RELEASE_BELOW_FLOOR", "a release below its own floor", { release: { securityFloor: "1.0.1" } });
badRelease("identity", "RELEASE_MALFORMED", "a release with a range that is none", { release: { upgradeFrom: ">>1" } });
badRelease("identity", "RELEASE_NEEDS_NEWER_SEALIFT", "a release for a newer Sealift", {
  release: { requires: { sealift: "99.0.0", trust: 1 } },
});
badRelease("identity", "TRUST_TOO_OLD", "a release for a newer trust", {
  release: { requires: { sealift: "0.1.0", trust: 2 } },
});
badSigning("identity", "RELEASE_OUT_OF_SCOPE", "an appliance that the trust's roles may not sign for", () => ({
  appliance: "other",
}));
badRelease("release", "RELEASE_MALFORMED", "a version that no program can compare", {
  version: "99999999999999999999.0.0",
});
badRelease("release", "RELEASE_MALFORMED", "an image under a name that is a path", {
  images: [{ name: "../gateway" }],
});
badRelease("release", "RELEASE_MALFORMED", "a release document of another schema", {
  release: { schemaVersion: 2 as 1 },
});

export const badBundles: readonly BadBundle[] = cases;
