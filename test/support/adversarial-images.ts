/**
 * Images that are made to be misread, with what is really in them: what a runtime that unpacks the layers would find.
 * Made anew each time; no binary is kept.
 */
import { gzipSync } from "node:zlib";
import { OCI_LAYER_GZIP, OCI_LAYER_TAR } from "../../bundles/model/media-types.ts";
import { directory, file, gnuLong, hardlink, header, layer, pax, symlink } from "./layer-tar.ts";
import { rpmDatabase, rpmPackage } from "./rpm-database.ts";
import { zipFile } from "./zip-file.ts";

export interface AdversarialImage {
  readonly name: string;
  readonly layers: readonly { readonly bytes: Buffer; readonly mediaType: string }[];
  /** `TYPE name@version` of each package, sorted; or the code of the refusal. */
  readonly expected: readonly string[] | { readonly code: string };
  /** Ecosystems that must be reported as not read, or not whole. */
  readonly notCatalogued: readonly string[];
}

const OS = file("etc/os-release", 'ID=debian\nVERSION_ID="13"\n');
const npm = (name: string, version: string): string => JSON.stringify({ name, version });
const at = (name: string, version: string, root = "app"): Buffer =>
  file(`${root}/node_modules/${name}/package.json`, npm(name, version));
const deb = (name: string, version: string, status = "install ok installed"): string =>
  `Package: ${name}\nStatus: ${status}\nArchitecture: amd64\nVersion: ${version}\n\n`;
const pom = (artifact: string, version: string): { name: string; content: string } => ({
  name: `META-INF/maven/g/${artifact}/pom.properties`,
  content: `groupId=g\nartifactId=${artifact}\nversion=${version}\n`,
});
const LONG = `${"long-directory-name/".repeat(12)}app`;
const KEPT = "npm kept@1.0.0";
const kept = at("kept", "1.0.0");

function image(
  name: string,
  layers: readonly Buffer[],
  expected: AdversarialImage["expected"],
  notCatalogued: readonly string[] = [],
): AdversarialImage {
  return { name, layers: layers.map((bytes) => ({ bytes, mediaType: OCI_LAYER_TAR })), expected, notCatalogued };
}

function compressed(name: string, bytes: Buffer, expected: AdversarialImage["expected"]): AdversarialImage {
  return { name, layers: [{ bytes, mediaType: OCI_LAYER_GZIP }], expected, notCatalogued: [] };
}

/** A jar whose one member says and holds `size` bytes, which compress to almost nothing. */
function jarBomb(size: number): Buffer {
  return zipFile([pom("bomb", "1.0"), { name: "inner.jar", content: Buffer.alloc(size) }]);
}

const below = layer(OS, at("gone", "1.0.0"), kept);

export const ADVERSARIAL_IMAGES: readonly AdversarialImage[] = [
  image("a file is whited out", [below, layer(file("app/node_modules/gone/.wh.package.json"))], [KEPT]),
  image("a directory is whited out", [below, layer(file("app/node_modules/.wh.gone"))], [KEPT]),
  image("everything is whited out, and one package comes back", [below, layer(file(".wh.app"), kept)], [KEPT]),
  image(
    "an opaque directory, marked before its content",
    [below, layer(file("app/node_modules/.wh..wh..opq"), at("new", "2.0.0"))],
    ["npm new@2.0.0"],
  ),
  image(
    "an opaque directory, marked after its content",
    [below, layer(at("new", "2.0.0"), file("app/node_modules/.wh..wh..opq"))],
    ["npm new@2.0.0"],
  ),
  image(
    "a whiteout after a file of its name in its own layer",
    [below, layer(at("gone", "2.0.0"), file("app/node_modules/.wh.gone"))],
    ["npm gone@2.0.0", KEPT],
  ),
  image(
    "a higher layer has another version",
    [below, layer(at("kept", "3.0.0"))],
    ["npm gone@1.0.0", "npm kept@3.0.0"],
  ),
  image("one path twice in a layer", [layer(OS, at("a", "1.0.0"), at("a", "2.0.0"))], ["npm a@2.0.0"]),
  image(
    "a hardlink to a file of a lower layer, which is removed above",
    [
      layer(OS, file("store/1", npm("stored", "1.0.0"))),
      layer(hardlink("app/node_modules/stored/package.json", "store/1")),
      layer(file(".wh.store")),
    ],
    ["npm stored@1.0.0"],
  ),
  image(
    "a hardlink to what its own layer removes",
    [
      layer(OS, file("store/1", npm("x", "1.0.0"))),
      layer(hardlink("app/node_modules/x/package.json", "store/1"), file(".wh.store")),
    ],
    { code: "SBOM_LAYER_MALFORMED" },
  ),
  image(
    "files put through a symbolic link to a directory",
    [layer(OS, directory("real"), symlink("app", "/real")), layer(at("through", "1.0.0"))],
    ["npm through@1.0.0"],
  ),
  image(
    "a directory becomes a symbolic link",
    [below, layer(symlink("app", "elsewhere"), at("n", "1.0.0", "elsewhere"))],
    ["npm n@1.0.0"],
  ),
  image("a directory becomes a file", [below, layer(file("app", "x"), at("n", "1.0.0", "srv"))], ["npm n@1.0.0"]),
  image(
    "a symbolic link becomes a directory",
    [layer(OS, symlink("app", "real"), at("old", "1.0.0", "real")), layer(directory("app"), at("new", "1.0.0"))],
    ["npm new@1.0.0", "npm old@1.0.0"],
  ),
  image(
    "pnpm's store and links",
    [
      layer(
        OS,
        file("app/node_modules/.pnpm/a@1.0.0/node_modules/a/package.json", npm("a", "1.0.0")),
        file("app/node_modules/.pnpm/b@2.0.0/node_modules/b/package.json", npm("b", "2.0.0")),
        symlink("app/node_modules/.pnpm/a@1.0.0/node_modules/b", "../../b@2.0.0/node_modules/b"),
        symlink("app/node_modules/a", ".pnpm/a@1.0.0/node_modules/a"),
      ),
    ],
    ["npm a@1.0.0", "npm b@2.0.0"],
  ),
  image(
    "node_modules is a symbolic link",
    [layer(OS, at("a", "1.0.0", "opt"), symlink("app/node_modules", "/opt/node_modules"))],
    ["npm a@1.0.0"],
  ),
  image("one version in two places", [layer(OS, at("a", "1.0.0"), at("a", "1.0.0", "srv"))], ["npm a@1.0.0"]),
  image(
    "two versions in two places",
    [layer(OS, at("a", "1.0.0"), at("a", "2.0.0", "srv"))],
    ["npm a@1.0.0", "npm a@2.0.0"],
  ),
  image(
    "a package.json that only marks a directory",
    [layer(OS, kept, file("app/node_modules/kept/esm/package.json", '{"type":"module"}'))],
    [KEPT],
  ),
  image(
    "names that need a pax header",
    [layer(OS, pax({ path: `${LONG}/node_modules/p/package.json` }), file("short", npm("p", "1.0.0")))],
    ["npm p@1.0.0"],
  ),
  image(
    "names that need GNU's header",
    [layer(OS, gnuLong(`${LONG}/node_modules/g/package.json`), file("short", npm("g", "1.0.0")))],
    ["npm g@1.0.0"],
  ),
  image(
    "names with a dot, and absolute ones",
    [layer(OS, at("a", "1.0.0", "./app"), at("b", "1.0.0", "/app"))],
    ["npm a@1.0.0", "npm b@1.0.0"],
  ),
  image("a name that leads out of the image", [layer(OS, at("a", "1.0.0", "app/../../x"))], {
    code: "SBOM_LAYER_MALFORMED",
  }),
  image("a package's declaration stored as a sparse file", [layer(OS, pax({ "GNU.sparse.major": "1" }), kept)], {
    code: "SBOM_LAYER_MALFORMED",
  }),
  image(
    "Debian packages removed but not purged, on hold, and half installed",
    [
      layer(
        OS,
        file(
          "var/lib/dpkg/status",
          deb("gone", "1", "deinstall ok config-files") +
            deb("held", "2", "hold ok installed") +
            deb("half", "3", "install ok half-configured"),
        ),
      ),
    ],
    ["deb half@3", "deb held@2"],
  ),
  image(
    "a distroless image, one of whose packages a higher layer removes",
    [
      layer(
        OS,
        file("var/lib/dpkg/status.d/libc6", "Package: libc6\nVersion: 2.41\nArchitecture: amd64\n"),
        file("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2026a\nArchitecture: all\n"),
      ),
      layer(file("var/lib/dpkg/status.d/.wh.tzdata")),
    ],
    ["deb libc6@2.41"],
  ),
  image(
    "archives in archives in archives, and shaded ones",
    [
      layer(
        OS,
        file(
          "srv/app.jar",
          zipFile([
            pom("app", "1"),
            { name: "lib/shaded.jar", content: zipFile([pom("a", "1"), pom("b", "2")]) },
            {
              name: "web.war",
              content: zipFile([{ name: "lib/inner.jar", content: zipFile([pom("inner", "3")]) }, pom("web", "4")]),
            },
          ]),
        ),
      ),
    ],
    ["maven a@1", "maven app@1", "maven b@2", "maven inner@3", "maven web@4"],
  ),
  image(
    "an archive that says less than it holds",
    [layer(OS, kept, file("srv/bomb.jar", jarBomb(70 * 1024 * 1024)))],
    ["maven bomb@1.0", KEPT],
    ["maven"],
  ),
  image(
    "rpm's database at the place of a link, beside packages of npm",
    [
      layer(
        file("etc/os-release", "ID=fedora\nVERSION_ID=40\n"),
        kept,
        symlink("var/lib/rpm", "../../usr/lib/sysimage/rpm"),
        file("usr/lib/sysimage/rpm/rpmdb.sqlite", rpmDatabase([rpmPackage("bash", "5", "1")])),
      ),
    ],
    [KEPT, "rpm bash@5-1"],
  ),
  image("an old database of rpm's", [layer(OS, kept, file("var/lib/rpm/Packages", "\0\0"))], [KEPT], ["rpm"]),
  compressed("a compressed layer that ends early", gzipSync(below).subarray(0, -20), { code: "SBOM_LAYER_MALFORMED" }),
  compressed("a compressed layer with more after its end", Buffer.concat([gzipSync(below), Buffer.from("more")]), {
    code: "SBOM_LAYER_MALFORMED",
  }),
  compressed("a layer that is not compressed though it says so", below, { code: "SBOM_LAYER_MALFORMED" }),
  image("an archive that ends early", [below.subarray(0, 700)], { code: "SBOM_LAYER_MALFORMED" }),
  image(
    "links that multiply",
    [layer(...Array.from({ length: 60 }, (_, i) => symlink(`l${i}`, `l${i + 1}/l${i + 1}`)), file("l0/x"))],
    { code: "SBOM_LAYER_MALFORMED" },
  ),
  image(
    "a file of 40 GB in a header, and no bytes of it",
    [layer(OS, pax({ size: String(40e9) }), header({ path: "x", size: 0, type: "File" }))],
    { code: "SBOM_LAYER_MALFORMED" },
  ),
  image("no package at all", [layer(OS, file("bin/tool", "x"))], { code: "SBOM_EMPTY" }),
];
