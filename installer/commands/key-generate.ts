import { rm } from "node:fs/promises";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { generateKeyFiles } from "../../bundles/sign/key-file.ts";
import { writeNew } from "../host/write-new.ts";
import { keyPassword } from "../ui/key-password.ts";
import { type Command, type Invocation, positionals, requiredOption, usageError } from "./command.ts";

const NAME = "key generate";

async function generateBackupKey(invocation: Invocation, prefix: string): Promise<number> {
  const { terminal, options } = invocation;
  if (options["password-env"] !== undefined) throw usageError(NAME, "--backup makes a key without a password");
  const { makeBackupKey } = await import("../backup/age-file.ts");
  const { identity, recipient } = await makeBackupKey();
  await writeNew(`${prefix}.key`, Buffer.from(`# public key: ${recipient}\n${identity}\n`), 0o600);
  await writeNew(`${prefix}.pub`, Buffer.from(`${recipient}\n`)).catch(async (cause: unknown) => {
    await rm(`${prefix}.key`, { force: true });
    throw cause;
  });
  terminal.result(`private key  ${prefix}.key`);
  terminal.result(`public key   ${prefix}.pub`);
  terminal.result(`recipient    ${recipient}`);
  terminal.document({ privateKey: `${prefix}.key`, publicKey: `${prefix}.pub`, recipient });
  return 0;
}

export const keyGenerate: Command = {
  name: NAME,
  summary: "make a P-256 signing key pair in cosign's encrypted format",
  usage: "--out PREFIX [--password-env VAR | --backup]",
  details: [
    "--out PREFIX         writes PREFIX.key (mode 0600) and PREFIX.pub; neither may exist",
    "--password-env VAR   the password's variable; else COSIGN_PASSWORD, else asked for on a terminal",
    "--backup             an age key pair instead, for backups: PREFIX.key has no password and belongs in a safe",
  ],
  options: { out: { type: "string" }, "password-env": { type: "string" }, backup: { type: "boolean" } },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const prefix = requiredOption(invocation, NAME, "out");
    if (invocation.options["backup"] === true) return generateBackupKey(invocation, prefix);
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
