import { loadPrivateKey } from "../../bundles/sign/key-file.ts";
import { readTrustMetadata, signingState, signTrust, writeTrustMetadata } from "../../bundles/sign/trust-metadata.ts";
import { keyPassword } from "../ui/key-password.ts";
import { type Command, positionals, requiredOption } from "./command.ts";

export const trustSign: Command = {
  name: "trust sign",
  summary: "sign a release trust with one more root key",
  usage: "DIR --key K [--password-env VAR]",
  details: [
    "Carry DIR to the machine of a root key, sign, and carry it on; `sealift trust show DIR` says what is missing.",
  ],
  options: { key: { type: "string" }, "password-env": { type: "string" } },
  run: async (invocation) => {
    const [directory = ""] = positionals(invocation, "trust sign", "DIR");
    const { terminal } = invocation;
    const path = requiredOption(invocation, "trust sign", "key");
    const key = loadPrivateKey(path, await keyPassword(invocation, path));
    const files = await readTrustMetadata(directory);
    signTrust(files, key);
    await writeTrustMetadata(directory, files, false);
    const state = signingState(files);
    for (const { file, signed, threshold } of state) {
      terminal.result(
        `${file.padEnd(18)} ${signed} of ${threshold} signatures${signed < threshold ? ", incomplete" : ""}`,
      );
    }
    terminal.document({
      directory,
      complete: state.every(({ signed, threshold }) => signed >= threshold),
      files: state,
    });
    return 0;
  },
};
