import { type Command, positionals } from "./command.ts";
import { UPDATE_DETAILS, UPDATE_OPTIONS, updateTrust } from "./trust-update.ts";

const NAME = "trust rotate";

export const trustRotate: Command = {
  name: NAME,
  summary: "make the next version of a release trust: other keys, other thresholds, or only new expiry dates",
  usage:
    "DIR [--root-key K… --root-threshold M] [--role ROLE=PUB[@HOLDER]…] [--threshold ROLE=M…] [--key K…] [--out DIR]",
  details: [
    ...UPDATE_DETAILS,
    "Without a change of keys or thresholds every file is renewed. A key that leaves a role counts no more, also",
    "not on releases that it signed: sign those again first if sites may still go back to them.",
  ],
  options: UPDATE_OPTIONS,
  run: async (invocation) => {
    const [directory = ""] = positionals(invocation, NAME, "DIR");
    return updateTrust(invocation, NAME, directory, {
      revoke: { keys: [], holders: [], releases: [], chips: [] },
      reason: "",
    });
  },
};
