import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { generateKeyFiles } from "../../bundles/sign/key-file.ts";
import { keyPassword } from "../ui/key-password.ts";
import { type Command, positionals, requiredOption } from "./command.ts";

export const keyGenerate: Command = {
  name: "key generate",
  summary: "make a P-256 signing key pair in cosign's encrypted format",
  usage: "--out PREFIX [--password-env VAR]",
  details: [
    "--out PREFIX         writes PREFIX.key (mode 0600) and PREFIX.pub; neither may exist",
    "--password-env VAR   the password's variable; else COSIGN_PASSWORD, else asked for on a terminal",
  ],
  options: { out: { type: "string" }, "password-env": { type: "string" } },
  run: async (invocation) => {
    positionals(invocation, "key generate");
    const { terminal } = invocation;
    const prefix = requiredOption(invocation, "key generate", "out");
    const password = await keyPassword(invocation, `${prefix}.key`, true);
    if (password === "") terminal.note("note: the password is empty; whoever has the file can sign");
    const fingerprint = keyFingerprint(generateKeyFiles(prefix, password).publicKey);
    terminal.result(`private key  ${prefix}.key`);
    terminal.result(`public key   ${prefix}.pub`);
    terminal.result(`fingerprint  ${fingerprint}`);
    terminal.document({ privateKey: `${prefix}.key`, publicKey: `${prefix}.pub`, fingerprint });
    return 0;
  },
};
