/** On a terminal: the operator sees the plan, picks a key, touches it, done; or hands the request to others. */

import { existsSync, statSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { plain } from "../../bundles/model/plain-text.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { writeNew } from "../host/write-new.ts";
import { type PlanSubject, type SignatureFile, signersFor } from "../lifecycle/authorization.ts";
import { planLines } from "../lifecycle/plan-text.ts";
import type { Site } from "../lifecycle/site.ts";
import { agentKeys, signWithAgentKey, signWithSshKeygen } from "../lifecycle/ssh-keygen.ts";
import { parseSshSignature } from "../lifecycle/sshsig.ts";
import { RECOVERY_PRINCIPAL, type Signer } from "../site/allowed-signers.ts";
import { askChoice, askText, type Choice } from "./ask.ts";
import { Stopped } from "./stopped.ts";
import type { Terminal } from "./terminal.ts";

/** A key that can sign here and now. */
interface KeyAtHand {
  readonly principal: string;
  readonly fingerprint: string;
  /** Of its name in allowed_signers, e.g. `sk-ssh-ed25519@openssh.com`. */
  readonly type: string;
  readonly where: string;
  sign(request: Buffer): Promise<Buffer>;
}

/** How the verb is called again once others have signed. */
export interface Resume {
  /** The command line up to `--request`, ready to type. */
  readonly command: string;
  /** A configuration that was asked for, and that the next call must have as a file. */
  readonly config?: string;
}

type Move = KeyAtHand | "file" | "request" | "stop";

/**
 * Shows the plan and collects signatures over `request` until enough operators signed. Undefined if the
 * request was written for others instead. @throws Stopped
 */
export async function askSignatures(
  terminal: Terminal,
  site: Site,
  subject: PlanSubject,
  request: Buffer,
  resume: Resume,
): Promise<readonly SignatureFile[] | undefined> {
  terminal.note("");
  for (const line of [`site ${site.siteId}`, ...planLines(subject)]) terminal.paragraph(line);
  terminal.note("");
  const signers = signersFor(site.authority, subject.action);
  const threshold = site.authority.document.thresholds[subject.action];
  const signed = new Map<string, SignatureFile>();
  while (signed.size < threshold && !signed.has(RECOVERY_PRINCIPAL)) {
    const keys = (await keysAtHand(signers)).filter(({ principal }) => !signed.has(principal));
    const move = await askChoice<Move>(question(signed, threshold), moves(keys));
    if (move === "stop") throw new Stopped();
    if (move === "request") {
      await handOver(terminal, subject, request, [...signed.values()], resume);
      return undefined;
    }
    const key = move === "file" ? await askKeyFile() : move;
    const made = await trySign(terminal, key, request, signers);
    if (made) signed.set(made.principal, made);
  }
  return [...signed.values()];
}

function question(signed: ReadonlyMap<string, unknown>, threshold: number): string {
  if (threshold === 1) return "Which key signs this plan?";
  const by = signed.size === 0 ? "" : ` (${[...signed.keys()].join(", ")})`;
  return `${signed.size} of ${threshold} operators signed${by}. Which key signs next?`;
}

function moves(keys: readonly KeyAtHand[]): Choice<Move>[] {
  return [
    ...keys.map((key) => ({
      value: key,
      name: `${key.principal}: ${key.where}`,
      description: `${key.fingerprint}${isHardware(key.type) ? "; touch it when it blinks" : ""}`,
    })),
    {
      value: "file" as const,
      name: "another key: name its file",
      description: "a private key, or the .pub of a key that the SSH agent or a hardware token has",
    },
    {
      value: "request" as const,
      name: "none here: write the request for others to sign",
      description: "changes nothing; the same command goes on with their signatures",
    },
    { value: "stop" as const, name: "none: stop, change nothing" },
  ];
}

/** The operators' keys that the agent holds or ~/.ssh has. */
async function keysAtHand(signers: readonly Signer[]): Promise<KeyAtHand[]> {
  const found: KeyAtHand[] = [];
  const add = (line: string, where: string, sign: KeyAtHand["sign"]): void => {
    const [type = "", base64] = line.split(" ");
    const signer = signers.find(({ key }) => key.base64 === base64);
    if (!signer || found.some(({ fingerprint }) => fingerprint === signer.key.fingerprint)) return;
    const { principal, key } = signer;
    found.push({ principal, fingerprint: key.fingerprint, type, where: `${kindOf(type)}${where}`, sign });
  };
  for (const line of await agentKeys()) add(line, "in the SSH agent", (bytes) => signWithAgentKey(bytes, line, true));
  for (const { line, file } of await keysOfHome()) add(line, file, (bytes) => signWithSshKeygen(bytes, file, true));
  return found;
}

async function keysOfHome(): Promise<{ readonly line: string; readonly file: string }[]> {
  const directory = join(homedir(), ".ssh");
  const names = await readdir(directory).catch(() => []);
  const files = names.filter((name) => name.endsWith(".pub")).map((name) => join(directory, name.slice(0, -4)));
  const keys = await Promise.all(
    files.filter((file) => existsSync(file)).map(async (file) => ({ file, line: await readLine(`${file}.pub`) })),
  );
  return keys.sort((a, b) => (a.file < b.file ? -1 : 1));
}

async function readLine(path: string): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text.split("\n")[0] ?? "";
}

function isHardware(type: string): boolean {
  return type.startsWith("sk-");
}

function kindOf(type: string): string {
  return isHardware(type) ? "hardware key, " : "";
}

async function askKeyFile(): Promise<Pick<KeyAtHand, "where" | "type" | "sign">> {
  const file = await askText("Key file:", (text) => {
    if (text === "") return "type a path";
    return statSync(text, { throwIfNoEntry: false })?.isFile() ? undefined : "there is no such file";
  });
  const [type = ""] = (await readLine(file.endsWith(".pub") ? file : `${file}.pub`)).split(" ");
  return { where: file, type, sign: (bytes) => signWithSshKeygen(bytes, file, true) };
}

/** A key that will not sign, or is nobody's, costs one more choice and not all the answers before it. */
async function trySign(
  terminal: Terminal,
  { where, type, sign }: Pick<KeyAtHand, "where" | "type" | "sign">,
  request: Buffer,
  signers: readonly Signer[],
): Promise<(SignatureFile & { readonly principal: string }) | undefined> {
  if (isHardware(type)) terminal.note("Touch the key when it blinks.");
  try {
    const bytes = await sign(request);
    const { fingerprint } = parseSshSignature(bytes, where).key;
    const signer = signers.find(({ key }) => key.fingerprint === fingerprint);
    if (signer) return { name: where, bytes, principal: signer.principal };
    terminal.paragraph(`That key, ${fingerprint}, is no operator's of this site: sealift operator list`);
  } catch (cause) {
    if (!(cause instanceof SealiftError) || cause.code !== "AUTHORIZATION_SIGNING_FAILED") throw cause;
    terminal.paragraph(cause.message);
  }
  return undefined;
}

async function handOver(
  terminal: Terminal,
  { action }: PlanSubject,
  request: Buffer,
  signatures: readonly SignatureFile[],
  { command, config }: Resume,
): Promise<void> {
  const out = await askText(
    "Write the request to:",
    (text) => {
      const taken = namesAround(text, signatures.length).find((name) => existsSync(name));
      return taken === undefined ? undefined : `${taken} exists already; a request is never written over`;
    },
    freeName(action, signatures.length),
  );
  const names = namesAround(out, signatures.length);
  await writeNew(out, request);
  if (config !== undefined) await writeNew(configName(out), Buffer.from(`${config}\n`));
  const files = names.slice(2);
  for (const [i, { bytes }] of signatures.entries()) await writeNew(files[i] as string, bytes);
  const again = [
    command,
    ...(config === undefined ? [] : [`--config ${configName(out)}`]),
    `--request ${out}`,
    ...[...files, "NAME.sig"].map((name) => `--authorization ${name}`),
  ];
  terminal.result(`${plain(out)} is written; nothing was changed.`);
  terminal.result(`Each operator signs: ssh-keygen -Y sign -n sealift-authorization -f KEY <${plain(out)} >NAME.sig`);
  terminal.result(`Then: ${again.join(" ")}`);
  terminal.document({ request: out, signatures: files, config: config === undefined ? null : configName(out) });
}

/** The request, its configuration, and the signatures that were made already. */
function namesAround(out: string, signatures: number): string[] {
  const files = [...Array(signatures).keys()].map((i) => (i === 0 ? `${out}.sig` : `${out}.${i + 1}.sig`));
  return [out, configName(out), ...files];
}

function configName(out: string): string {
  return `${out}.config.json`;
}

function freeName(action: string, signatures: number): string {
  for (let i = 1; ; i += 1) {
    const name = i === 1 ? `${action}.request` : `${action}-${i}.request`;
    if (!namesAround(name, signatures).some((path) => existsSync(path))) return name;
  }
}
