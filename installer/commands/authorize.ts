import { existsSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { type Digest, isDigest } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { installerError } from "../error.ts";
import { makeRequest, type PlanSubject } from "../lifecycle/authorization.ts";
import { planOperatorChange } from "../lifecycle/operator-change.ts";
import { planLines } from "../lifecycle/plan-text.ts";
import { openSiteForChange, type Site } from "../lifecycle/site.ts";
import { signWithSshKeygen } from "../lifecycle/ssh-keygen.ts";
import { planTrustChange, trustChangeTo } from "../lifecycle/trust-change.ts";
import { ACTIONS, isAction } from "../site/authority.ts";
import { readDeployments } from "../site/deployment.ts";
import {
  type Command,
  type Invocation,
  optionalOption,
  repeatedOption,
  requiredOption,
  usageError,
} from "./command.ts";
import { changedAuthority } from "./operator.ts";
import {
  existsError,
  missingApprovals,
  REQUEST_DETAILS,
  REQUEST_OPTIONS,
  requestOptions,
  STATE_OPTION,
  stateDirectory,
} from "./site-options.ts";

const NAME = "authorize";

export const authorize: Command = {
  name: NAME,
  summary: "write the request that operators sign for an action; changes nothing",
  usage: "ACTION [ARGS] --out FILE.request [--key K…] [--reason TEXT] [--valid-for HOURS] [--state DIR]",
  details: [
    `ACTION                one of ${ACTIONS.join(", ")}; \`operator add FILE\` and \`operator remove NAME\` as the verbs`,
    "--from D --to D       releases (sha256:…); from is the current one if not said",
    "--config D --policy D --trust-version N   what else the verb will compare",
    "--key K               sign at once into FILE.request.sig, FILE.request.2.sig …",
    ...REQUEST_DETAILS,
  ],
  options: {
    out: { type: "string" },
    key: { type: "string", multiple: true },
    from: { type: "string" },
    to: { type: "string" },
    config: { type: "string" },
    policy: { type: "string" },
    "trust-version": { type: "string" },
    ...REQUEST_OPTIONS,
    ...STATE_OPTION,
  },
  run: async (invocation) => {
    const { terminal } = invocation;
    const out = requiredOption(invocation, NAME, "out");
    const site = openSiteForChange(stateDirectory(invocation));
    const subject = await planOf(invocation, site);
    const request = makeRequest(site, subject, requestOptions(invocation, NAME));
    if (existsSync(out)) throw existsError(out);
    const keys = repeatedOption(invocation, "key");
    const signatures: Buffer[] = [];
    for (const key of keys) signatures.push(await signWithSshKeygen(request, key, terminal.interactive));
    const names = signatures.map((_, i) => (i === 0 ? `${out}.sig` : `${out}.${i + 1}.sig`));
    // A signature of an older request by this name would look like one of this.
    for (const name of [`${out}.sig`, ...names]) await rm(name, { force: true });
    await writeNew(out, request);
    for (const [i, bytes] of signatures.entries()) await writeNew(names[i] as string, bytes);
    for (const line of planLines(subject)) terminal.result(line);
    terminal.result(`${missingApprovals(site, subject)}; ${signatures.length} signed`);
    // Through a pipe: given the file's name, ssh-keygen would ask to write over another signer's FILE.sig.
    terminal.result(`Sign with: ssh-keygen -Y sign -n sealift-authorization -f KEY <${plain(out)} >NAME.sig`);
    terminal.document({ request: out, signatures: names, plan: subject, siteId: site.siteId });
    return 0;
  },
};

/** Until install and upgrade plan for themselves, their digests come as options. */
async function planOf(invocation: Invocation, site: Site): Promise<PlanSubject> {
  const [action = "", ...rest] = invocation.args;
  if (!isAction(action))
    throw usageError(NAME, `got action ${JSON.stringify(action)}, want one of ${ACTIONS.join(", ")}`);
  if (action === "operator") {
    const [word, argument, ...more] = rest;
    if ((word !== "add" && word !== "remove") || argument === undefined || more.length > 0) {
      throw usageError(NAME, "want `operator add FILE` or `operator remove NAME`");
    }
    return planOperatorChange(site.authority, await changedAuthority(site.authority, word, argument));
  }
  if (action === "trust") {
    const [directory, ...more] = rest;
    if (directory === undefined || more.length > 0) throw usageError(NAME, "want `trust DIR`");
    return planTrustChange(trustChangeTo(site, readTrustDirectory(directory)));
  }
  if (rest.length > 0) throw usageError(NAME, `unexpected argument ${JSON.stringify(rest[0])}`);
  const version = optionalOption(invocation, "trust-version");
  if (version !== undefined && !/^[1-9][0-9]{0,8}$/.test(version)) {
    throw usageError(NAME, `--trust-version: got ${JSON.stringify(version)}, want a whole number from 1`);
  }
  return {
    action,
    from: digestOption(invocation, "from") ?? readDeployments(site.paths).current?.release ?? null,
    to: digestOption(invocation, "to"),
    configDigest: digestOption(invocation, "config"),
    policyDigest: digestOption(invocation, "policy"),
    trustVersion: version === undefined ? null : Number(version),
    details: [],
  };
}

function digestOption(invocation: Invocation, name: string): Digest | null {
  const text = optionalOption(invocation, name);
  if (text === undefined || isDigest(text)) return text ?? null;
  throw usageError(NAME, `--${name}: got ${JSON.stringify(text)}, want sha256: and 64 hexadecimal digits`);
}

/** @throws FILE_WRITE_FAILED, also if it exists */
async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  try {
    const file = await open(path, "wx", 0o644);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}
