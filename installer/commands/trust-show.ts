import { plain } from "../../bundles/model/plain-text.ts";
import { readTrustMetadata, signingState } from "../../bundles/sign/trust-metadata.ts";
import { loadTrust } from "../../verify/trust/trust.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { type Command, positionals } from "./command.ts";

export const trustShow: Command = {
  name: "trust show",
  summary: "print a release trust: its fingerprint for paper, roles, keys, holders, expiry",
  usage: "DIR",
  details: ["Exit 0: complete and valid now. Exit 3: signatures are missing, or it does not hold."],
  options: {},
  run: async (invocation) => {
    const [directory = ""] = positionals(invocation, "trust show", "DIR");
    const { terminal } = invocation;
    const missing = signingState(await readTrustMetadata(directory)).filter(
      ({ signed, threshold }) => signed < threshold,
    );
    if (missing.length > 0) {
      for (const { file, signed, threshold } of missing)
        terminal.result(`incomplete: ${file} has ${signed} of ${threshold} signatures`);
      terminal.result(`Next: sealift trust sign ${directory} --key KEY`);
      terminal.document({ complete: false, missing });
      return 3;
    }
    const trust = loadTrust(readTrustDirectory(directory), new Date());
    const roles = [...trust.roles].map(([role, { threshold, keys, paths }]) => ({
      role,
      threshold,
      paths,
      keys: keys.map(({ fingerprint, holder }) => ({ holder, fingerprint })),
    }));
    terminal.result("root fingerprint (compare every group with the paper):");
    terminal.result(`  ${(trust.rootFingerprint.match(/.{8}/g) ?? []).join(" ")}`);
    terminal.result(`root ${trust.rootVersion}, targets ${trust.targetsVersion}, valid until ${trust.expires}`);
    for (const { role, threshold, paths, keys } of roles) {
      terminal.result(`${role}: ${threshold} of ${keys.length}, for ${plain(paths.join(", "))}`);
      for (const { holder, fingerprint } of keys) terminal.result(`  ${fingerprint}  ${plain(holder)}`);
    }
    const { rootVersion, targetsVersion, rootFingerprint, expires } = trust;
    terminal.document({ complete: true, rootFingerprint, rootVersion, targetsVersion, expires, roles });
    return 0;
  },
};
