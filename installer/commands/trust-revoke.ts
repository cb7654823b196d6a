import { keyFingerprint, parsePublicKey } from "../../bundles/model/public-key.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { type Command, type Invocation, positionals, repeatedOption, requiredOption, usageError } from "./command.ts";
import { UPDATE_DETAILS, UPDATE_OPTIONS, updateTrust } from "./trust-update.ts";

const NAME = "trust revoke";
const KEY_FILE_MAX_BYTES = 16 * 1024;

export const trustRevoke: Command = {
  name: NAME,
  summary: "take back keys, holders, releases or chips, in the next version of a release trust",
  usage:
    "DIR [--revoke-key FINGERPRINT|PUB…] [--holder NAME…] [--release DIGEST…] [--chip HEX…] --reason TEXT [--key K…] [--role …] [--root-key …] [--out DIR]",
  details: [
    "--revoke-key F|PUB…       a key, by its fingerprint or its public key file: out of every role, for ever",
    "--holder NAME…            whoever has this name: every key of theirs, now and later",
    "--release DIGEST…         a release: no site installs it or goes back to it any more",
    "--chip HEX…               a confidential VM's chip, by its id",
    "--reason TEXT             in your words, for the people who will ask; it is signed with the rest",
    ...UPDATE_DETAILS,
    "A role that would be left with too few keys needs new ones in the same step (--role, --root-key).",
  ],
  options: {
    ...UPDATE_OPTIONS,
    "revoke-key": { type: "string", multiple: true },
    holder: { type: "string", multiple: true },
    release: { type: "string", multiple: true },
    chip: { type: "string", multiple: true },
    reason: { type: "string" },
  },
  run: async (invocation) => {
    const [directory = ""] = positionals(invocation, NAME, "DIR");
    const revoke = {
      keys: await revokedKeys(invocation),
      holders: repeatedOption(invocation, "holder"),
      releases: repeatedOption(invocation, "release"),
      chips: repeatedOption(invocation, "chip").map((id) => id.toLowerCase()),
    };
    if (Object.values(revoke).every((list) => list.length === 0)) {
      throw usageError(NAME, "nothing to revoke: give --revoke-key, --holder, --release or --chip");
    }
    return updateTrust(invocation, NAME, directory, { revoke, reason: requiredOption(invocation, NAME, "reason") });
  },
};

async function revokedKeys(invocation: Invocation): Promise<string[]> {
  return Promise.all(
    repeatedOption(invocation, "revoke-key").map(async (text) => {
      const fingerprint = text.replace(/\s/g, "").toLowerCase();
      if (/^[0-9a-f]{64}$/.test(fingerprint)) return fingerprint;
      const pem = (await readBoundedFile(text, KEY_FILE_MAX_BYTES)).toString("utf8");
      return keyFingerprint(parsePublicKey(pem, `key ${JSON.stringify(text)}`));
    }),
  );
}
