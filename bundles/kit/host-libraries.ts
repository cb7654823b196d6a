/**
 * The one library that Node needs and that small hosts lack: libatomic. Debian 12's build of it is taken,
 * because it asks for no newer glibc than 2.14 and so runs on every host that Node runs on. The launcher
 * uses it only where the host has none of its own.
 */
import type { DebianInput } from "../model/appliance.ts";
import { hexOf, parseDigest } from "../model/digest.ts";
import { unpackDeb } from "../source/recipe/deb.ts";
import { debianMirrors } from "../source/recipe/debian-archive.ts";
import { fetchToCache } from "../source/recipe/download.ts";
import { kitError } from "./error.ts";
import type { KitFile, KitPlatform } from "./kit-files.ts";

const VERSION = "12.2.0-14+deb12u1";

/** SHA-256 and size of each package's .deb, as Debian's signed package lists have them. */
const PACKAGES: Readonly<Record<KitPlatform, readonly (readonly [name: string, sha256: string, size: number])[]>> = {
  "linux/amd64": [
    ["libatomic1", "fbd4e154a6b444229ea002cc209df099209c0adc09102e5fd21239a3d2b55e2d", 9376],
    ["gcc-12-base", "1896a2aacf4ad681ff5eacc24a5b0ca4d5d9c9b9c9e4b6de5197bc1e116ea619", 37596],
  ],
  "linux/arm64": [
    ["libatomic1", "1693aa13ce2b30d061a519fc28b77b9bab8c8e45804ced5969d99821e1bc2159", 9568],
    ["gcc-12-base", "674cf6cba6d432bd200c45fe866c1652c7a53523cc2e7a613e05bc4abf7b5440", 37624],
  ],
};
/** What is taken from each: the library, and the copyright file that its licence asks us to pass on. */
const PICKS: Readonly<Record<string, readonly [inPackage: RegExp, inKit: string]>> = {
  libatomic1: [/^usr\/lib\/[^/]+\/libatomic\.so\.1\.2\.0$/, "lib/libatomic.so.1"],
  "gcc-12-base": [/^usr\/share\/doc\/gcc-12-base\/copyright$/, "lib/libatomic.copyright"],
};

export interface HostLibraries {
  readonly files: ReadonlyMap<string, KitFile>;
  readonly libatomic: DebianInput;
}

/** @throws KIT_SOURCE_REFUSED, and SOURCE_* and RECIPE_PACKAGE_MALFORMED as `fetchToCache` and `unpackDeb` do. */
export async function hostLibraries(platform: KitPlatform, spool: string, cacheDir: string): Promise<HostLibraries> {
  const files = new Map<string, KitFile>();
  const inputs = PACKAGES[platform].map(([name, sha256, size]) => debianInput(name, sha256, size, platform));
  for (const input of inputs) {
    const what = `package ${input.package} ${input.version}`;
    const path = await fetchToCache(
      {
        what,
        urls: async () => (await debianMirrors("debian")).map((mirror) => `${mirror}/${input.path}`),
        algorithm: "sha256",
        hex: hexOf(input.sha256),
        size: input.size,
        maxBytes: input.size,
      },
      cacheDir,
    );
    const { tar, members } = await unpackDeb(path, input, spool);
    const [inPackage, inKit] = PICKS[input.package] as readonly [RegExp, string];
    const member = members.find((one) => one.type === "file" && inPackage.test(one.path));
    if (!member) throw kitError("KIT_SOURCE_REFUSED", `${what}: no file ${inPackage.source} in it`);
    const content = { file: tar, position: member.position, size: member.size };
    files.set(inKit, { type: "file", mode: 0o644, uid: 0, gid: 0, content });
  }
  return { files, libatomic: inputs[0] as DebianInput };
}

function debianInput(name: string, sha256: string, size: number, platform: KitPlatform): DebianInput {
  const architecture = platform.split("/")[1] as string;
  const digest = parseDigest(`sha256:${sha256}`);
  if (!digest) throw new TypeError(`not a SHA-256: ${sha256}`);
  return {
    package: name,
    version: VERSION,
    architecture,
    archive: "debian",
    path: `pool/main/g/gcc-12/${name}_${VERSION}_${architecture}.deb`,
    sha256: digest,
    size,
  };
}
