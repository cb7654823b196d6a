import { isIPv4 } from "node:net";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { serveLayout } from "../../bundles/layout/oci-endpoint.ts";
import type { ReleaseManifest } from "../../bundles/model/release-manifest.ts";
import { type Command, optionalOption, positionals, usageError } from "./command.ts";

/** Not an unusual loopback address: cosign 2 asks only this one (and localhost) over plain HTTP. */
const DEFAULT_ADDRESS = "127.0.0.1:5083";
const PLAIN_HTTP_HOST = /^(?:127\.0\.0\.1|localhost|\[::1\]):/;
const SIGNALS: ReadonlyMap<NodeJS.Signals, number> = new Map([
  ["SIGINT", 2],
  ["SIGTERM", 15],
]);

export const bundleServe: Command = {
  name: "bundle serve",
  summary: "show a bundle as a read-only registry on this machine, for cosign, oras and skopeo",
  usage: "BUNDLE [--address 127.0.0.1:5083]",
  details: [
    "--address HOST:PORT  a loopback address; port 0 takes a free one",
    "Runs until Ctrl-C. It verifies no signature: the tools that it prints commands for do.",
  ],
  options: { address: { type: "string" } },
  run: async (invocation) => {
    const [path] = positionals(invocation, "bundle serve", "BUNDLE") as [string];
    const { host, port } = loopbackAddress(optionalOption(invocation, "address") ?? DEFAULT_ADDRESS);
    const { terminal } = invocation;
    const { layout, store } = openLayout(path);
    try {
      const release = readRelease(layout, readLayoutIndex(layout).release);
      const endpoint = await serveLayout(layout, {
        host,
        port,
        onProblem: (message) => terminal.note(`damaged content: ${message}`),
      });
      const ended = nextSignal();
      const repository = `${endpoint.address}/${release.manifest.appliance}/release`;
      const commands = reviewerCommands(endpoint.address, release.manifest, release.descriptor.digest);
      terminal.result(`serving  ${repository}@${release.descriptor.digest}`);
      for (const line of commands) terminal.result(line);
      terminal.document({
        address: endpoint.address,
        release: `${repository}@${release.descriptor.digest}`,
        images: release.manifest.images.map((image) => imageReference(endpoint.address, release.manifest, image)),
        commands: commands.filter((line) => !line.startsWith("#")),
      });
      terminal.note("until Ctrl-C");
      const signal = await ended;
      await endpoint.close();
      return 128 + (SIGNALS.get(signal) ?? 0);
    } finally {
      closeStore(store);
    }
  },
};

function imageReference(
  address: string,
  { appliance }: ReleaseManifest,
  image: ReleaseManifest["images"][number],
): string {
  return `${address}/${appliance}/${image.name}@${image.digest}`;
}

/** Lines for a shell; the keys are the publisher's, as files. */
export function reviewerCommands(address: string, release: ReleaseManifest, digest: string): string[] {
  const whole = `${address}/${release.appliance}/release@${digest}`;
  const root = `'{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'`;
  const http = PLAIN_HTTP_HOST.test(address) ? "" : " --allow-http-registry";
  const keyed = (key: string): string => `--key ${key}.pub --insecure-ignore-tlog${http}`;
  return [
    ...(http === "" ? [] : ["# cosign 2 asks this address over https only; serve on 127.0.0.1 for it"]),
    "# cosign 2 asks for a trusted root even where only keys count; an empty one will do",
    `printf %s ${root} > empty-root.json`,
    "# the release, signed in each role",
    ...["builder", "security", "release"].flatMap((role) => [`cosign verify ${keyed(role)} ${whole}`]),
    "# what the builder says the release was made of",
    `cosign verify-attestation ${keyed("builder")} --new-bundle-format --trusted-root empty-root.json --type slsaprovenance1 ${whole}`,
    "# each image, its SBOM and its provenance: signed by the builder",
    ...release.images.flatMap((image) => {
      const reference = imageReference(address, release, image);
      return [
        `cosign verify ${keyed("builder")} ${reference}`,
        ...["cyclonedx", "slsaprovenance1"].map(
          (type) =>
            `cosign verify-attestation ${keyed("builder")} --new-bundle-format --trusted-root empty-root.json --type ${type} ${reference}`,
        ),
      ];
    }),
    "# the same bundle for oras and skopeo",
    `oras discover --plain-http ${whole}`,
    `oras manifest fetch --plain-http ${whole}`,
    ...release.images.map(
      (image) => `skopeo inspect --tls-verify=false docker://${imageReference(address, release, image)}`,
    ),
  ];
}

function loopbackAddress(text: string): { readonly host: string; readonly port: number } {
  const found = /^(?:\[(::1)\]|([0-9.]+|localhost)):([0-9]{1,5})$/.exec(text);
  const host = found?.[1] ?? found?.[2] ?? "";
  const port = Number(found?.[3]);
  const loopback = host === "::1" || host === "localhost" || (isIPv4(host) && host.startsWith("127."));
  if (!loopback || !(port <= 65_535)) {
    throw usageError("bundle serve", `--address: got ${JSON.stringify(text)}, want 127.X.Y.Z:PORT or [::1]:PORT`);
  }
  return { host, port };
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of SIGNALS.keys()) process.once(signal, () => resolve(signal));
  });
}
