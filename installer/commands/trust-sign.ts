import { parseTrustMetadata, signingState, signTrust, writeTrustMetadata } from "../../bundles/sign/trust-metadata.ts";
import { readTrustClaim } from "../../verify/trust/trust.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { type Command, positionals } from "./command.ts";
import { readSigningKey, SIGNING_KEY_DETAILS, SIGNING_KEY_OPTIONS } from "./signing-key-options.ts";
import { signingLine } from "./trust-options.ts";
import { printClaim } from "./trust-show.ts";

export const trustSign: Command = {
  name: "trust sign",
  summary: "sign a release trust with one more root key",
  usage: "DIR (--key K | --signer COMMAND --public-key PUB)",
  details: [
    ...SIGNING_KEY_DETAILS,
    "Carry DIR to the machine of a root key, read it with `sealift trust show DIR`, sign, and carry it on.",
    "A file that has enough signatures already is left as it is.",
  ],
  options: SIGNING_KEY_OPTIONS,
  run: async (invocation) => {
    const [directory = ""] = positionals(invocation, "trust sign", "DIR");
    const { terminal } = invocation;
    const bytes = readTrustDirectory(directory);
    // Nothing is signed that `verify` would refuse however many sign it.
    printClaim(readTrustClaim(bytes), terminal);
    const files = parseTrustMetadata(bytes);
    const key = await readSigningKey(invocation, "trust sign");
    const signed = signTrust(files, key);
    await writeTrustMetadata(directory, new Map([...files].filter(([name]) => signed.includes(name))), false);
    const state = signingState(files);
    terminal.result(signed.length === 0 ? "nothing left to sign with this key" : `signed ${signed.join(", ")}`);
    for (const item of state) {
      terminal.result(`${signingLine(item)}${item.signed < item.threshold ? ", incomplete" : ""}`);
    }
    terminal.document({
      directory,
      signed,
      complete: state.every(({ signed: have, threshold }) => have >= threshold),
      files: state,
    });
    return 0;
  },
};
