/** The two appliances of the demo, as copies of compose/ in its working directory. */
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseDocument } from "yaml";
import { makeEarlierRelease } from "./earlier-release.ts";

/** A name of its own: images, containers and signatures of a demo are never those of a real appliance. */
export const DEMO_APPLIANCE = "sealift-gateway-demo";
export const VERSIONS = { earlier: "1.0.0", later: "1.1.0" } as const;

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** What the recipes read. */
const COPIED = ["compose", "package.json", "package-lock.json"];

/** Writes `directory`/1.0.0 and `directory`/1.1.0. */
export async function writeAppliances(directory: string): Promise<void> {
  for (const version of Object.values(VERSIONS)) {
    const copy = join(directory, version);
    await mkdir(copy);
    const filter = (path: string): boolean => basename(path) !== "node_modules";
    for (const name of COPIED) await cp(join(ROOT, name), join(copy, name), { recursive: true, filter });
    const compose = join(copy, "compose");
    await rename(join(compose, "appliance.yaml"));
    if (version === VERSIONS.earlier) await makeEarlierRelease(compose);
  }
}

async function rename(path: string): Promise<void> {
  const document = parseDocument(await readFile(path, "utf8"));
  document.set("appliance", DEMO_APPLIANCE);
  await writeFile(path, document.toString({ lineWidth: 0 }));
}
