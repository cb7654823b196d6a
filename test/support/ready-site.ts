/** A site as an operator makes it, by the verbs themselves: one operator with an SSH key, and a release trust. */
import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type CommandResult, sealift } from "./command-line.ts";
import type { RealTrust } from "./real-release.ts";

export interface EnrolledSite {
  /** For `--state`. */
  readonly state: string;
  /** For `--key`: the private key of alice, whose signature alone is enough for everything. */
  readonly operatorKey: string;
}

/** A site that trusts nobody's releases yet. `parent` must be empty of `state`, `alice` and `operators`. */
export async function createSiteWithOperator(parent: string): Promise<EnrolledSite> {
  const state = join(parent, "state");
  const operatorKey = join(parent, "alice");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", operatorKey]);
  const operators = join(parent, "operators");
  const publicKey = await readFile(`${operatorKey}.pub`, "utf8");
  await writeFile(operators, `alice namespaces="sealift-authorization" ${publicKey}`);
  requireSuccess(await sealift(["site", "init", "--operators", operators, "--state", state]));
  return { state, operatorKey };
}

/** As `createSiteWithOperator`, and with the trust imported: ready for `install`. */
export async function enrolSite(parent: string, trust: RealTrust): Promise<EnrolledSite> {
  const site = await createSiteWithOperator(parent);
  const options = ["--fingerprint", trust.fingerprint, "--key", site.operatorKey, "--state", site.state];
  requireSuccess(await sealift(["trust", "import", trust.directory, ...options]));
  return site;
}

function requireSuccess({ exit, stdout, stderr }: CommandResult): void {
  if (exit !== 0) throw new Error(`exit ${exit}\n${stdout}${stderr}`);
}
