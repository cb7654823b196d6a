/** OpenSSH's ssh-keygen, which makes and verifies the signatures. */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NAMESPACE } from "../site/allowed-signers.ts";
import { lifecycleError } from "./error.ts";

const OUTPUT_MAX_BYTES = 64 * 1024;
const VERIFY_TIMEOUT_MS = 30_000;
const PATH = "/usr/bin:/bin:/usr/local/bin";

interface Ran {
  readonly status: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Without a shell, with `input` on stdin and a bounded output. */
async function run(
  tool: string,
  args: readonly string[],
  options: {
    readonly input: Uint8Array;
    readonly env: NodeJS.ProcessEnv;
    readonly timeoutMs?: number;
    readonly talk: boolean;
  },
): Promise<Ran> {
  const child = spawn(tool, args, {
    stdio: ["pipe", "pipe", options.talk ? "inherit" : "pipe"],
    env: options.env,
    ...(options.timeoutMs !== undefined && { timeout: options.timeoutMs, killSignal: "SIGKILL" }),
  });
  const chunks: Buffer[] = [];
  let size = 0;
  let stderr = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= OUTPUT_MAX_BYTES) chunks.push(chunk);
    else child.kill("SIGKILL");
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    if (stderr.length < OUTPUT_MAX_BYTES) stderr += text;
  });
  // A child that refuses early closes its stdin; its status says the rest.
  child.stdin?.on("error", () => {});
  child.stdin?.end(options.input);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", (cause: NodeJS.ErrnoException) => {
      reject(
        lifecycleError("SSH_KEYGEN_MISSING", `${tool} cannot be started: ${cause.message}`, {
          cause,
          hints: ["apt-get install openssh-client"],
        }),
      );
    });
    child.once("close", (code) => resolve(code));
  });
  return { status, stdout: Buffer.concat(chunks), stderr };
}

export interface Verification {
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly principal: string;
  /** Lines of allowed_signers; no others are believed. */
  readonly signers: readonly string[];
  /** The moment at which a key must be valid. */
  readonly at: Date;
  /** What the signature was made for; an authorization if absent. */
  readonly namespace?: string;
}

/**
 * Whether ssh-keygen accepts the signature over exactly `message`, in that namespace, by a key that
 * `signers` lists for `principal` at that time; if not, its reason. Says nothing about touch.
 * @throws SSH_KEYGEN_MISSING
 */
export async function verifyWithSshKeygen(
  verification: Verification,
): Promise<{ ok: true } | { ok: false; reason: string }> {
  const { namespace = NAMESPACE } = verification;
  const directory = await mkdtemp(join(tmpdir(), "sealift-verify-"));
  try {
    const signers = join(directory, "allowed_signers");
    const signature = join(directory, "signature");
    await writeFile(signers, `${verification.signers.join("\n")}\n`, { mode: 0o600 });
    await writeFile(signature, verification.signature, { mode: 0o600 });
    const at = verification.at.toISOString().replace(/[-:T]/g, "").replace(/\..*$/, "Z");
    const args = ["-Y", "verify", "-f", signers, "-I", verification.principal, "-n", namespace, "-s", signature];
    const { status, stdout, stderr } = await run("ssh-keygen", [...args, `-Overify-time=${at}`], {
      input: verification.message,
      // Dates without a zone would be local time: our lines have one, and the zone is fixed all the same.
      env: { PATH, TZ: "UTC", LC_ALL: "C" },
      timeoutMs: VERIFY_TIMEOUT_MS,
      talk: false,
    });
    if (status === 0 && stdout.toString("latin1").startsWith(`Good "${namespace}" signature for `)) return { ok: true };
    const reason = stderr.trim().split("\n")[0] || stdout.toString("utf8").trim() || `ssh-keygen ended with ${status}`;
    return { ok: false, reason };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * The armoured signature over `message` with the key in `keyFile`: a private key, or the .pub of a key that
 * the agent or a FIDO token has. Through stdin and stdout: with a file ssh-keygen would leave a stale
 * FILE.sig in place and still succeed. A passphrase or a touch is asked for on the terminal.
 * @throws AUTHORIZATION_SIGNING_FAILED | SSH_KEYGEN_MISSING
 */
export async function signWithSshKeygen(
  message: Uint8Array,
  keyFile: string,
  interactive: boolean,
  namespace = NAMESPACE,
): Promise<Buffer> {
  const { SSH_AUTH_SOCK, SSH_SK_PROVIDER, SSH_ASKPASS, SSH_ASKPASS_REQUIRE, DISPLAY, HOME } = process.env;
  const env = { PATH, LC_ALL: "C", SSH_AUTH_SOCK, SSH_SK_PROVIDER, SSH_ASKPASS, SSH_ASKPASS_REQUIRE, DISPLAY, HOME };
  const { status, stdout, stderr } = await run("ssh-keygen", ["-Y", "sign", "-n", namespace, "-f", keyFile], {
    input: message,
    env,
    talk: interactive,
  });
  if (status === 0 && stdout.length > 0) return stdout;
  const reason = stderr.trim().split("\n").at(-1) || `ssh-keygen ended with ${status}`;
  throw lifecycleError("AUTHORIZATION_SIGNING_FAILED", `key ${JSON.stringify(keyFile)}: ${reason}`, {
    hints: ["for a key in the agent name its .pub file, and check `ssh-add -L`"],
  });
}

/** The same with the agent's key of which `line` is the public half. @throws AUTHORIZATION_SIGNING_FAILED | SSH_KEYGEN_MISSING */
export async function signWithAgentKey(message: Uint8Array, line: string, interactive: boolean): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), "sealift-sign-"));
  try {
    const file = join(directory, "key.pub");
    await writeFile(file, `${line}\n`, { mode: 0o600 });
    return await signWithSshKeygen(message, file, interactive);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** `TYPE BASE64 comment` of each key that the agent holds; none if there is no agent. */
export async function agentKeys(): Promise<string[]> {
  const { SSH_AUTH_SOCK } = process.env;
  if (SSH_AUTH_SOCK === undefined) return [];
  const ran = await run("ssh-add", ["-L"], {
    input: Buffer.alloc(0),
    env: { PATH, LC_ALL: "C", SSH_AUTH_SOCK },
    timeoutMs: VERIFY_TIMEOUT_MS,
    talk: false,
  });
  return ran.status === 0 ? ran.stdout.toString("utf8").split("\n").filter(Boolean) : [];
}
