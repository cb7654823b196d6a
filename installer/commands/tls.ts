/** `tls`: the certificate that clients see. It changes by way of the other colour, so no connection is cut. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import { plain } from "../../bundles/model/plain-text.ts";
import { writeCertificateRequest } from "../../compose/services/service-kit/src/certificate.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import type { CertificateWish } from "../lifecycle/certificate-change.ts";
import { type DeployPlan, planTls, requireInstalled } from "../lifecycle/deploy-plan.ts";
import { configOf } from "../lifecycle/deployed-config.ts";
import type { Prepared } from "../lifecycle/preconditions.ts";
import type { Site } from "../lifecycle/site.ts";
import {
  type BroughtCertificate,
  broughtPath,
  readBroughtCertificate,
  readRequestKey,
  requestKeyPath,
} from "../site/client-certificate.ts";
import { readDeployments } from "../site/deployment.ts";
import { readStateFile, removeDurably, writeWhole } from "../site/disk.ts";
import { publicNames, wantedNames } from "../site/secret-makers.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import { carryOut, DEPLOY_DETAILS, DEPLOY_OPTIONS, storedBundle, withPrepared } from "./deploy-verb.ts";
import { RECORDS_DETAIL, RECORDS_OPTION } from "./records-option.ts";
import { STATE_OPTION, withSite } from "./site-options.ts";

const FILE_MAX_BYTES = 64 * 1024;
/** Of `tls import`, for `authorize` too. */
export const TLS_OPTIONS = { "tls-key": { type: "string" } } as const;

export const tlsRenew: Command = {
  name: "tls renew",
  summary: "replace the certificate that clients see by a new one of the site's own",
  usage: "--key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]",
  details: [
    "The plan says whether clients must trust another authority: it may vouch for the names of its day only.",
    RECORDS_DETAIL,
    ...DEPLOY_DETAILS,
  ],
  options: { ...RECORDS_OPTION, ...DEPLOY_OPTIONS },
  run: async (invocation) => change(invocation, "tls renew", ["renew", ...invocation.args]),
};

export const tlsImport: Command = {
  name: "tls import",
  summary: "replace the certificate that clients see by one of an authority of yours",
  usage: "CHAIN [--tls-key FILE] --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]",
  details: [
    "CHAIN                 PEM: the server's certificate, then each issuer; the root may be left out",
    "--tls-key FILE        its private key, PEM without a password; else the one that `tls csr` made",
    RECORDS_DETAIL,
    ...DEPLOY_DETAILS,
  ],
  options: { ...TLS_OPTIONS, ...RECORDS_OPTION, ...DEPLOY_OPTIONS },
  run: async (invocation) => change(invocation, "tls import", ["import", ...invocation.args]),
};

export const tlsCsr: Command = {
  name: "tls csr",
  summary: "write a certificate request for an authority of yours; the key stays on the site",
  usage: "--out FILE [--state DIR]",
  details: [
    "--out FILE            PKCS #10, PEM; it names what publicNames in the configuration names, or this host",
    "The same key is used again until `tls import` has brought its certificate.",
  ],
  options: { out: { type: "string" }, ...STATE_OPTION },
  run: async (invocation) => {
    const name = "tls csr";
    positionals(invocation, name);
    const out = requiredOption(invocation, name, "out");
    return withSite(invocation, name, async (site) => {
      const { terminal } = invocation;
      const config = configOf(site, requireInstalled(readDeployments(site.paths)));
      const names = wantedNames(config, hostname());
      const request = writeCertificateRequest(subjectOf(names), names, requestKey(site));
      await writeNew(out, Buffer.from(request));
      terminal.result(`request for ${names.join(", ")}: ${plain(out)}`);
      terminal.result("Next: sealift tls import CHAIN, with what the authority gives for it");
      terminal.document({ request: out, names });
      return 0;
    });
  },
};

/** A common name holds 64 characters at most; clients look at the other names. */
function subjectOf(names: readonly string[]): string {
  return names.find((name) => name.length <= 64) ?? "sealift";
}

function requestKey(site: Site): KeyObject {
  const found = readRequestKey(site.paths);
  if (found !== undefined) return createPrivateKey(found);
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  writeWhole(site.disk, requestKeyPath(site.paths), Buffer.from(pem), 0o400);
  return privateKey;
}

/** What `tls renew` and `tls import CHAIN` wish for, judged. @throws USAGE | TLS_… */
export async function tlsWish(
  invocation: Invocation,
  site: Site,
  [word, ...args]: readonly string[],
): Promise<CertificateWish> {
  if (word === "renew" && args.length === 0) return { source: "own" };
  const [chain, ...more] = args;
  if (word !== "import" || chain === undefined || more.length > 0) {
    throw usageError("tls", "want `tls renew` or `tls import CHAIN`");
  }
  const keyFile = optionalOption(invocation, "tls-key");
  const waiting = readRequestKey(site.paths);
  const keys = keyFile === undefined ? [waiting ?? ""] : [await readText(keyFile)];
  const config = configOf(site, requireInstalled(readDeployments(site.paths)));
  // Where the operator named none, this host's names are a guess that no authority need share.
  const names = publicNames(config).length > 0 ? wantedNames(config, hostname()) : [];
  return {
    source: "brought",
    brought: readBroughtCertificate(await readText(chain), keys, { names, now: site.clock().now }),
  };
}

/** Not after a mere plan. */
function isInUse({ paths }: Site, { facts }: Prepared, { bytes }: BroughtCertificate): boolean {
  const file = facts.certificate && join(paths.directory, "secrets", facts.certificate.file);
  return file !== undefined && readStateFile(file, FILE_MAX_BYTES)?.equals(bytes) === true;
}

async function readText(path: string): Promise<string> {
  return (await readBoundedFile(path, FILE_MAX_BYTES)).toString("latin1");
}

export function planTlsOf({ facts, next }: Prepared, site: Site, wish: CertificateWish): DeployPlan {
  return planTls(facts, next, configOf(site, requireInstalled(facts.deployments)), wish);
}

async function change(invocation: Invocation, name: string, words: readonly string[]): Promise<number> {
  return withSite(invocation, [name, ...invocation.args].join(" "), async (site) => {
    const { release } = requireInstalled(readDeployments(site.paths));
    const wish = await tlsWish(invocation, site, words);
    const code = await withPrepared(invocation, site, storedBundle(site, release), async (prepared) => {
      const plan = planTlsOf(prepared, site, wish);
      if (wish.source === "own") return carryOut(invocation, name, site, prepared, plan);
      // It waits there for its step, and no longer than this verb.
      writeWhole(site.disk, broughtPath(site.paths), wish.brought.bytes, 0o400);
      try {
        const done = await carryOut(invocation, name, site, prepared, plan);
        if (isInUse(site, prepared, wish.brought)) removeDurably(site.disk, requestKeyPath(site.paths));
        return done;
      } finally {
        removeDurably(site.disk, broughtPath(site.paths));
      }
    });
    return code ?? 3;
  });
}
