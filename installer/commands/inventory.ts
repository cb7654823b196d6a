import { resolve } from "node:path";
import { digestOf } from "../../bundles/model/digest.ts";
import { renderInventory } from "../../bundles/transfer/inventory.ts";
import { writeNew } from "../host/write-new.ts";
import { openSite } from "../lifecycle/site.ts";
import { storedContents } from "../lifecycle/site-inventory.ts";
import { megabytes } from "./bundle-split.ts";
import { type Command, positionals, requiredOption } from "./command.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

const NAME = "inventory";

export const inventory: Command = {
  name: NAME,
  summary: "write which layers and files the site has, so that its next bundle can leave them out",
  usage: "--out FILE [--state DIR]",
  details: [
    "--out FILE    the inventory, for `sealift bundle build --inventory` on the connected side",
    "--state DIR   the site's state directory (default /var/lib/sealift)",
    "Every byte is read, and what is damaged is not listed: a bundle that relied on it would be refused here.",
    "FILE holds digests alone, no name, site or configuration; but who knows our releases sees which ones are here.",
  ],
  options: { out: { type: "string" }, ...STATE_OPTION },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const out = resolve(requiredOption(invocation, NAME, "out"));
    const site = openSite(stateDirectory(invocation));
    const progress = terminal.progress("reading the store");
    let read = 0;
    const contents = await storedContents(site.paths.directory, (bytes) => {
      read += bytes;
      progress.update(`${megabytes(read)} MB`);
    });
    progress.done(`${megabytes(read)} MB`);
    const blobs = new Set(contents.flatMap((release) => release.blobs));
    const bytes = renderInventory(blobs);
    await writeNew(out, bytes);
    const digest = digestOf(bytes);
    const releases = contents.map(({ release, damaged }) => ({ release, damaged }));
    for (const { release, damaged } of releases) {
      const state = damaged === 0 ? "whole" : `${damaged} blobs damaged and not listed`;
      terminal.result(`release  ${release}  ${state}`);
    }
    terminal.result(`written  ${out}: ${blobs.size} blobs; the file's digest is ${digest}`);
    terminal.result("Remove no release here (`sealift prune`) until the bundle that is built with it is installed.");
    terminal.document({ out, digest, blobs: blobs.size, releases });
    return 0;
  },
};
