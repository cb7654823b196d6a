import { join, resolve } from "node:path";
import { plain } from "../../bundles/model/plain-text.ts";
import { RELEASE_FILE_MAX_BYTES } from "../../verify/attestation/release-file.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { unseal } from "../lifecycle/unseal.ts";
import { RUN_DETAILS, RUN_OPTIONS, runDirectory } from "./attest-input.ts";
import { type Command, optionalOption, positionals } from "./command.ts";
import { withSite } from "./site-options.ts";

const NAME = "attest unseal";

export const attestUnseal: Command = {
  name: NAME,
  summary: "on the site: open what a verifier released, once, and put the site's key into memory",
  usage: "FILE [--key-out PATH] [--state DIR] [--run DIR]",
  details: [
    "FILE         what attest unlock wrote on the verifier's machine",
    "--key-out P  where the key goes; must lie on a tmpfs (default: unlock.key in the directory of --run)",
    ...RUN_DETAILS,
    "The site's policy says whose releases count. The receipt goes into the ledger, and from there into the audit log.",
    "Exit 0: the key is there. Exit 3: refused; or simulated, which is recorded and brings no key.",
  ],
  options: { "key-out": { type: "string" }, ...RUN_OPTIONS },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "FILE");
    const bytes = await readBoundedFile(path, RELEASE_FILE_MAX_BYTES);
    const run = runDirectory(invocation);
    return withSite(invocation, NAME, async (site) => {
      const keyOut = resolve(optionalOption(invocation, "key-out") ?? join(run, site.siteId, "unlock.key"));
      const { receipt, verifier } = await unseal(site, run, bytes, keyOut);
      const isReal = receipt.decision === "allow";
      const { terminal } = invocation;
      terminal.result(
        isReal
          ? `verifier ${plain(verifier.principal)} allowed this host until ${receipt.validUntil}; the key is in ${plain(keyOut)}`
          : "SIMULATED – NOT AMD: recorded as such; there is no key, and nothing is allowed",
      );
      terminal.document({ receipt, verifier, key: isReal ? keyOut : null });
      return isReal ? 0 : 3;
    });
  },
};
