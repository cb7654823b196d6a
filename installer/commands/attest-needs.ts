import { plain } from "../../bundles/model/plain-text.ts";
import { addressesOf, needsOf } from "../../verify/attestation/collateral-needs.ts";
import { writeCollateralRequest } from "../../verify/attestation/collateral-request.ts";
import { EVIDENCE_MAX_BYTES, readEvidence } from "../../verify/attestation/evidence.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { type Command, positionals, repeatedOption, requiredOption, usageError } from "./command.ts";

const NAME = "attest needs";

export const attestNeeds: Command = {
  name: NAME,
  summary: "write down what certificates and lists evidence needs, for a connected machine to fetch",
  usage: "--evidence FILE… --out FILE",
  details: [
    "--evidence F  what attest collect wrote, a report or a quote; may be given several times. An old one of the same",
    "              machine will do, if its firmware is still the same",
    "--out F       the list: chips and platforms, no addresses and no secrets; an existing file is not replaced",
    "Run it where the evidence was collected: it is read here, and not in the cage of attest verify. Nothing is appraised.",
    "Next, on the connected machine: sealift attest fetch.",
  ],
  options: { evidence: { type: "string", multiple: true }, out: { type: "string" } },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const out = requiredOption(invocation, NAME, "out");
    const paths = repeatedOption(invocation, "evidence");
    if (paths.length === 0) throw usageError(NAME, "--evidence is missing");
    const evidence = await Promise.all(paths.map((path) => readBoundedFile(path, EVIDENCE_MAX_BYTES)));
    const needs = evidence.flatMap((bytes) => needsOf(readEvidence(bytes).report));
    await writeNew(out, writeCollateralRequest(needs));
    const { terminal } = invocation;
    const urls = [...new Set(needs.flatMap((need) => addressesOf(need).map(({ url }) => url)))];
    for (const url of urls) terminal.result(`  ${plain(url)}`);
    terminal.result("next, on a connected machine: sealift attest fetch FILE --key K --out KIT");
    terminal.document({ out, needs, addresses: urls });
    return 0;
  },
};
