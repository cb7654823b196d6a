/** What is in a release, as part of the verdict's page: vulnerabilities, changes, packages. Complete without scripting. */
import { filterPlace, html, table } from "./html.ts";
import type {
  ChangeRow,
  ImageChanges,
  ImagePackages,
  PackageRow,
  ReleaseContents,
  VulnerabilityRow,
} from "./release-contents.ts";

/** Every text is escaped. */
export function contentsHtml(contents: ReleaseContents): string {
  const { images, vulnerabilities, comparison, leftOut } = contents;
  const { against, alarms } = comparison;
  const changes = comparison.images.flatMap(changeRows);
  const open = vulnerabilities.filter(({ status }) => status === "open").length;
  return [
    "<h2>Known vulnerabilities</h2>",
    `<p>Records: <bdi>${html(contents.records)}</bdi></p>`,
    vulnerabilities.length === 0
      ? ""
      : `<p>${open} open, ${vulnerabilities.length - open} suppressed by statements.</p>\n${filtered("vulnerabilities", ["Level", "Vulnerability", "Image", "Package", "Fixed in", "Said of it"], vulnerabilities.map(vulnerabilityRow))}`,
    "<h2>What changed</h2>",
    `<p>Compared with: <bdi>${html(against)}</bdi></p>`,
    alarms === 0
      ? ""
      : `<p class="warning">ALARM: ${alarms} packages have the version that they had, and other bytes.</p>`,
    changes.length === 0 ? "" : filtered("changes", ["Change", "Image", "Package", "From", "To", "Detail"], changes),
    "<h2>What is in the images</h2>",
    "<p>As their SBOMs list it, which the builder signed. The layers were not looked at again.</p>",
    ...images.map(imageHtml),
    leftOut === 0
      ? ""
      : `<p class="warning">${leftOut} rows are left out; sealift sbom show BUNDLE has all of them.</p>`,
  ]
    .filter((part) => part !== "")
    .join("\n");
}

function filtered(id: string, names: readonly string[], rows: readonly string[]): string {
  return `${filterPlace(id)}\n${table(names, rows, id)}`;
}

const STATUS = /^[a-z][a-z0-9 ,.+-]{0,40}$/;

/** `status` is what the filter sorts by: words of ours, and the kinds of packages as SBOMs call them. */
function row(status: string, cells: readonly string[]): string {
  return `<tr data-status="${STATUS.test(status) ? status : "other"}">${cells.map((text) => `<td><bdi>${html(text)}</bdi></td>`).join("")}</tr>`;
}

function vulnerabilityRow(one: VulnerabilityRow): string {
  const status = one.status === "suppressed" ? "suppressed" : (one.level.split(" ")[0] ?? "");
  const level = one.status === "suppressed" ? `${one.level} (suppressed)` : one.level;
  return row(status, [level, one.id, one.image, one.package, one.fixed || "no fix known", one.said]);
}

function changeRows({ name, presence, rows }: ImageChanges): string[] {
  const whole = presence === "both" ? [] : [row(`image ${presence}`, [`image ${presence}`, name, "", "", "", ""])];
  return [...whole, ...rows.map((one) => changeRow(name, one))];
}

function changeRow(image: string, { kind, package: name, from, to, detail }: ChangeRow): string {
  return row(kind, [kind === "hash-changed" ? "same version, other bytes" : kind, image, name, from, to, detail]);
}

function imageHtml({ name, digest, sbom, packages }: ImagePackages, index: number): string {
  return [
    `<h3><bdi>${html(name)}</bdi></h3>`,
    `<p>${packages.length} components. Image <code>${html(digest)}</code>, SBOM <code>${html(sbom)}</code></p>`,
    filtered(`packages-${index}`, ["Kind", "Name", "Version", "Licences"], packages.map(packageRow)),
  ].join("\n");
}

function packageRow({ kind, name, version, licences }: PackageRow): string {
  return row(kind, [kind, name, version, licences]);
}
