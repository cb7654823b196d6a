import { createPublicKey } from "node:crypto";
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { ROLES, type Role } from "../../bundles/model/signing-roles.ts";
import { isPrivateKeyFile, loadPrivateKey, loadPublicKey, type PrivateKey } from "../../bundles/sign/key-file.ts";
import {
  type KeyHolder,
  planTrust,
  signingState,
  signTrust,
  writeTrustMetadata,
} from "../../bundles/sign/trust-metadata.ts";
import { keyPassword } from "../ui/key-password.ts";
import { type Command, optionalOption, positionals, repeatedOption, requiredOption, usageError } from "./command.ts";

const NAME = "trust init";

export const trustInit: Command = {
  name: NAME,
  summary: "make the release trust: who may sign what, and how many of them must (TUF metadata)",
  usage: "--out DIR --root-key K… --root-threshold M --role ROLE=PUB[@HOLDER]… --threshold ROLE=M… [--appliance NAME]",
  details: [
    "--root-key K[@HOLDER]     a private key signs at once; a public key signs later with `sealift trust sign`",
    "--root-threshold M        how many root keys must sign (default 1)",
    "--role ROLE=PUB[@HOLDER]  a public key of builder, security or release and who holds it; the file's name if not said",
    "--threshold ROLE=M        how many keys of the role must sign a release (default 1)",
    "--appliance NAME          the only appliance that the roles may sign for (default: any)",
    "--password-env VAR        the password of the private root keys",
  ],
  options: {
    out: { type: "string" },
    "root-key": { type: "string", multiple: true },
    "root-threshold": { type: "string" },
    role: { type: "string", multiple: true },
    threshold: { type: "string", multiple: true },
    appliance: { type: "string" },
    "password-env": { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const out = requiredOption(invocation, NAME, "out");
    const signers: PrivateKey[] = [];
    const root: KeyHolder[] = [];
    for (const text of repeatedOption(invocation, "root-key")) {
      const { path, holder } = pathAndHolder(text);
      if (isPrivateKeyFile(path)) {
        const key = loadPrivateKey(path, await keyPassword(invocation, path));
        signers.push(key);
        root.push({ publicKey: createPublicKey(key), holder });
      } else {
        root.push({ publicKey: loadPublicKey(path), holder });
      }
    }
    if (root.length === 0) throw usageError(NAME, "--root-key is missing");
    const thresholds = new Map<Role, string>();
    for (const [role, text] of repeatedOption(invocation, "threshold").map((item) => roleOption("threshold", item))) {
      if (thresholds.has(role)) throw usageError(NAME, `--threshold ${role}=… is given twice`);
      thresholds.set(role, text);
    }
    const roles = new Map<Role, { keys: KeyHolder[]; threshold: number }>();
    for (const [role, text] of repeatedOption(invocation, "role").map((item) => roleOption("role", item))) {
      const { path, holder } = pathAndHolder(text);
      const group = roles.get(role) ?? {
        keys: [],
        threshold: count(thresholds.get(role) ?? "1", `--threshold ${role}`),
      };
      group.keys.push({ publicKey: loadPublicKey(path), holder });
      roles.set(role, group);
    }
    const files = planTrust({
      root,
      rootThreshold: count(optionalOption(invocation, "root-threshold") ?? "1", "--root-threshold"),
      roles,
      appliance: optionalOption(invocation, "appliance") ?? "*",
      now: new Date(),
    });
    for (const key of signers) signTrust(files, key);
    await writeTrustMetadata(out, files, true);
    const missing = signingState(files).filter(({ signed, threshold }) => signed < threshold);
    terminal.result(`release trust written to ${out}`);
    for (const { file, signed, threshold } of missing)
      terminal.result(`incomplete: ${file} has ${signed} of ${threshold} signatures`);
    if (missing.length > 0) terminal.result(`Next, on each missing key's machine: sealift trust sign ${out} --key KEY`);
    else terminal.result(`Next: sealift trust show ${out}, and put its fingerprint on paper`);
    terminal.document({
      directory: out,
      complete: missing.length === 0,
      missing,
      roles: Object.fromEntries(
        [...roles].map(([role, { keys, threshold }]) => [
          role,
          {
            threshold,
            keys: keys.map(({ publicKey, holder }) => ({ holder, fingerprint: keyFingerprint(publicKey) })),
          },
        ]),
      ),
    });
    return 0;
  },
};

function roleOption(option: string, text: string): [Role, string] {
  const [name = "", ...rest] = text.split("=");
  const role = ROLES.find((known) => known === name);
  if (role === undefined || rest.length === 0) {
    throw usageError(
      NAME,
      `--${option}: got ${JSON.stringify(text)}, want ROLE=… with ROLE one of ${ROLES.join(", ")}`,
    );
  }
  return [role, rest.join("=")];
}

/**
 * `path/key.pub@Alice` → the path and Alice; without @, the file's name stands for the holder. Both may
 * hold an @ themselves: the shortest part before an @ that is a file is the path.
 */
function pathAndHolder(text: string): { readonly path: string; readonly holder: string } {
  for (let at = text.indexOf("@"); at >= 0 && !existsSync(text); at = text.indexOf("@", at + 1)) {
    const path = text.slice(0, at);
    if (path !== "" && existsSync(path)) return { path, holder: text.slice(at + 1) };
  }
  return { path: text, holder: basename(text).replace(/\.(?:pub|key|pem)$/, "") };
}

function count(text: string, option: string): number {
  if (!/^[1-9][0-9]{0,3}$/.test(text))
    throw usageError(NAME, `${option}: got ${JSON.stringify(text)}, want a whole number from 1`);
  return Number(text);
}
