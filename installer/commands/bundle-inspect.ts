import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { isSignatureEntry, readSignatureObject } from "../../bundles/layout/signature-object.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { processorsText } from "../../bundles/model/release-attestation.ts";
import { renderReleaseProvenance } from "../../bundles/model/release-provenance.ts";
import { requireOwnBuild } from "../../bundles/sign/sign-release.ts";
import { ownBuilder } from "../host/own-source.ts";
import { type Command, positionals } from "./command.ts";

interface Attached {
  readonly kind: string;
  readonly about: string;
  readonly predicateType: string;
  readonly signatures: number;
}

/** The order of the index is that of digests, and says nothing to a person. */
const sortKey = ({ about, kind, predicateType }: Attached): string => JSON.stringify([about, kind, predicateType]);
const compare = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

export const bundleInspect: Command = {
  name: "bundle inspect",
  summary: "say what is inside a bundle; verifies digests of what it reads, and no signature",
  usage: "BUNDLE [--provenance]",
  details: [
    "--provenance   print only what the builder says of the release (a SLSA provenance predicate), for a builder who signs",
    "               with `cosign attest-blob --type slsaprovenance1 --predicate`; `bundle sign --role builder` does it itself",
  ],
  options: { provenance: { type: "boolean" } },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, "bundle inspect", "BUNDLE");
    const { terminal } = invocation;
    const { layout, store } = openLayout(path);
    try {
      const index = readLayoutIndex(layout);
      const release = readRelease(layout, index.release);
      const signatures = index.others.filter(isSignatureEntry).map((entry) => readSignatureObject(layout, entry));
      const { manifest } = release;
      if (invocation.options["provenance"] === true) {
        const builder = ownBuilder();
        requireOwnBuild(layout, release, builder);
        const predicate = renderReleaseProvenance(manifest, builder);
        terminal.document(predicate);
        terminal.result(canonicalJson(predicate).toString("utf8"));
        return 0;
      }
      const names = new Map(manifest.images.map((image) => [image.digest, image.name]));
      const images = [...release.images].map(([name, entry]) => ({
        name,
        digest: entry.descriptor.digest,
        layers: entry.manifest.layers.length,
        bytes: entry.manifest.layers.reduce((sum, layer) => sum + layer.size, 0),
      }));
      const attached = signatures.map(
        (object): Attached => ({
          kind: object.kind,
          about:
            object.subject === release.descriptor.digest ? "release" : (names.get(object.subject) ?? object.subject),
          predicateType: object.descriptor.annotations?.["dev.sigstore.bundle.predicateType"] ?? "",
          signatures: object.signatures.length,
        }),
      );
      attached.sort((a, b) => compare(sortKey(a), sortKey(b)));
      terminal.document({ digest: release.descriptor.digest, release: manifest, images, signatures: attached });
      terminal.result(
        `${manifest.appliance} ${manifest.version} (${manifest.channel}, ${manifest.platform}), made ${manifest.created}`,
      );
      terminal.result(`release ${release.descriptor.digest}`);
      terminal.result(
        `upgrade from ${manifest.upgradeFrom || "none"}; back to ${manifest.rollbackTo || "none"}; floor ${manifest.securityFloor}`,
      );
      for (const { name, digest, layers, bytes } of images) {
        terminal.result(`image   ${name.padEnd(16)} ${digest}  ${layers} layers, ${(bytes / 1e6).toFixed(1)} MB`);
      }
      for (const { name, digest, size } of manifest.files) {
        terminal.result(`file    ${name.padEnd(16)} ${digest}  ${(size / 1e6).toFixed(1)} MB`);
      }
      for (const launch of manifest.attestation?.sevSnp ?? []) {
        for (const { digest, ...processors } of launch.measurements) {
          terminal.result(`launch  ${`${launch.vmm}, ${processorsText(processors)}`.padEnd(16)} ${digest}`);
        }
      }
      for (const { firmware, measurements } of manifest.attestation?.tdx ?? []) {
        for (const { order, mrTd } of measurements) {
          terminal.result(`MRTD    ${`${firmware.file}, ${order}`.padEnd(16)} ${mrTd}`);
        }
      }
      for (const { kind, about, predicateType, signatures: count } of attached) {
        terminal.result(`signed  ${plain(about).padEnd(16)} ${count} × ${kind} ${plain(predicateType)}`.trimEnd());
      }
      terminal.result(`Not verified: no signature was checked. Next: sealift verify ${plain(path)}`);
      return 0;
    } finally {
      closeStore(store);
    }
  },
};
