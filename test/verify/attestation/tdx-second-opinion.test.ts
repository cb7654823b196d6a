import assert from "node:assert/strict";
import { createRequire } from "node:module";
import test from "node:test";
import type { QuoteFields } from "../../../verify/attestation/tdx-simulator.ts";
import { strangerKey, TDX_AT, TdxPlatform } from "../../support/tdx-platform.ts";
import { judgeTdx, tdxPlatform } from "./tdx-evidence.ts";

/** What is used of @phala/dcap-qvl, which brings no types. */
interface Oracle {
  readonly QuoteVerifier: {
    newWithRootCa(root: Buffer): {
      verify(
        quote: Buffer,
        collateral: object,
        seconds: number,
      ): { readonly status: string; readonly advisory_ids: string[] };
    };
  };
}
const { QuoteVerifier } = createRequire(import.meta.url)("@phala/dcap-qvl") as Oracle;

interface Question {
  readonly fields?: QuoteFields;
  readonly by?: TdxPlatform;
  readonly files?: Readonly<Record<string, Buffer>>;
  readonly mutate?: number;
}

function pem(...certificates: readonly Buffer[]): string {
  return certificates
    .map((der) => `-----BEGIN CERTIFICATE-----\n${der.toString("base64")}\n-----END CERTIFICATE-----\n`)
    .join("");
}

/** `tcbInfo`'s or the identity's inner document and its signature, as the oracle takes them. */
function parts(document: Buffer): { readonly inner: string; readonly signature: string } {
  const [, inner = "", signature = ""] = /^\{"\w+":(.*),"signature":"([0-9a-f]+)"\}$/.exec(document.toString()) ?? [];
  return { inner, signature };
}

function quoteOf({ fields, by = tdxPlatform, mutate }: Question): Buffer {
  const quote = by.quote(fields);
  if (mutate !== undefined) quote[mutate] = (quote[mutate] ?? 0) ^ 1;
  return quote;
}

/** Status and advisories, or null if it refuses. */
function oracleSays(quote: Buffer, { by = tdxPlatform, files = {} }: Question): unknown {
  const info = parts(files["tcb-info.json"] ?? by.tcbInfo());
  const identity = parts(files["qe-identity.json"] ?? by.enclaveIdentity());
  const chain = pem(by.signingCertificate, by.rootCertificate);
  const collateral = {
    pck_crl_issuer_chain: pem(by.authorityCertificate, by.rootCertificate),
    root_ca_crl: (files["root.crl"] ?? by.revocationList("root")).toString("hex"),
    pck_crl: (files["platform.crl"] ?? by.revocationList("platform")).toString("hex"),
    tcb_info_issuer_chain: chain,
    tcb_info: info.inner,
    tcb_info_signature: info.signature,
    qe_identity_issuer_chain: chain,
    qe_identity: identity.inner,
    qe_identity_signature: identity.signature,
  };
  try {
    const verifier = QuoteVerifier.newWithRootCa(by.rootCertificate);
    const { status, advisory_ids } = verifier.verify(quote, collateral, Date.parse(TDX_AT) / 1000);
    return [status, advisory_ids.toSorted().join(", ")];
  } catch {
    return null;
  }
}

/** The same of ours. What the oracle refuses without asking anybody is part of the policy here. */
function weSay(quote: Buffer, { by = tdxPlatform, files = {} }: Question): unknown {
  const guest = {
    debug: "refused",
    migration: "unchecked",
    septVeDisable: "required",
    perfmon: "unchecked",
    keyLocker: "unchecked",
    otherAttributes: "unchecked",
    xfam: "unchecked",
  } as const;
  const { claims, findings } = judgeTdx({
    by,
    evidence: quote,
    files,
    policy: { guest, serviceTds: ["00".repeat(48)] },
  });
  const asked = ["debug", "sept-ve-disable", "service-td"];
  if (claims === null || claims["tcbStatus"] === "Revoked") return null;
  if (findings.some(({ check, status }) => asked.includes(check) && status === "fail")) return null;
  return [claims["tcbStatus"], claims["advisories"]];
}

const levels = (info: Record<string, unknown>) => info["tcbLevels"] as { tcbStatus: string }[];
const platformIs = (tcbStatus: string): Question => ({
  files: { "tcb-info.json": tdxPlatform.tcbInfo((info) => Object.assign(levels(info)[0] ?? {}, { tcbStatus })) },
});

const AGREED: Readonly<Record<string, Question>> = {
  "a good quote of version 4": {},
  "one of version 5": { fields: { version: 5 } },
  "one of version 5 with the short report": { fields: { version: 5, body: "td-1.0" } },
  "an older loader": { fields: { teeTcbSvn: [6, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } },
  "a loader older than all": { fields: { teeTcbSvn: [6, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } },
  "an older quoting enclave": { fields: { qe: { isvSvn: 3 } } },
  "a quoting enclave older than all": { fields: { qe: { isvSvn: 1 } } },
  "a debugged TD": { fields: { tdAttributes: (1n << 28n) | 1n } },
  "a TD without SEPT_VE_DISABLE": { fields: { tdAttributes: 0n } },
  "a service TD": { fields: { version: 5, mrServiceTd: Buffer.alloc(48, 1) } },
  "a debugged quoting enclave": { fields: { qe: { attributes: Buffer.from(`13${"00".repeat(15)}`, "hex") } } },
  "another signer of the enclave": { fields: { qe: { mrSigner: Buffer.alloc(32, 1) } } },
  "another product": { fields: { qe: { isvProdId: 1 } } },
  "an older PCE": { by: new TdxPlatform({ pceSvn: 10 }) },
  "an older SGX component": { by: new TdxPlatform({ components: [2, 2, 2, 2, 3, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0] }) },
  "a quote by a stranger": { fields: { signer: strangerKey() } },
  "an enclave's report by a stranger": { fields: { qe: { signer: strangerKey() } } },
  "TCB info by a stranger": { files: { "tcb-info.json": tdxPlatform.tcbInfo(() => {}, strangerKey()) } },
  "an identity by a stranger": { files: { "qe-identity.json": tdxPlatform.enclaveIdentity(() => {}, strangerKey()) } },
  "a revoked platform": {
    files: { "platform.crl": tdxPlatform.revocationList("platform", { revoked: [tdxPlatform.leafCertificate] }) },
  },
  "a revoked authority": {
    files: { "root.crl": tdxPlatform.revocationList("root", { revoked: [tdxPlatform.authorityCertificate] }) },
  },
  "a platform that needs hardening": platformIs("SWHardeningNeeded"),
  "a platform that needs a configuration": platformIs("ConfigurationNeeded"),
  "a platform that needs both": platformIs("ConfigurationAndSWHardeningNeeded"),
  "a platform that needs hardening, and an old enclave": {
    ...platformIs("SWHardeningNeeded"),
    fields: { qe: { isvSvn: 3 } },
  },
  "a revoked level": platformIs("Revoked"),
};

for (const [name, question] of Object.entries(AGREED)) {
  test(`@phala/dcap-qvl says the same of ${name}`, () => {
    const quote = quoteOf(question);
    assert.deepEqual(weSay(quote, question), oracleSays(quote, question));
  });
}

test("what @phala/dcap-qvl refuses of quotes with one changed byte, we refuse, and the rest too", () => {
  const { length } = tdxPlatform.quote();
  let compared = 0;
  for (let mutate = 0; mutate < length; mutate += 97) {
    const quote = quoteOf({ mutate });
    assert.equal(weSay(quote, {}), null, `byte ${mutate}`);
    if (oracleSays(quote, {}) === null) compared += 1;
  }
  // It lets bytes through on which nothing depends, such as those of the root that the quote brings.
  assert.ok(compared > 30, `${compared} refused by both`);
});

test("where we know more than @phala/dcap-qvl: levels of the TDX module", () => {
  const oldModule = { fields: { teeTcbSvn: [5, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } } as const;
  const files = {
    "tcb-info.json": tdxPlatform.tcbInfo((info) => {
      const [identity] = info["tdxModuleIdentities"] as { tcbLevels: { tcb: { isvsvn: number } }[] }[];
      Object.assign(identity?.tcbLevels[0]?.tcb ?? {}, { isvsvn: 6 });
    }),
  };
  const quote = quoteOf(oldModule);
  assert.deepEqual(oracleSays(quote, { files }), ["UpToDate", ""]);
  assert.deepEqual(weSay(quote, { files }), ["OutOfDate", "INTEL-SA-01192"]);
});

test("where we follow Intel's own library and @phala/dcap-qvl the worse of both: an old enclave on a platform to be configured", () => {
  const question: Question = { ...platformIs("ConfigurationNeeded"), fields: { qe: { isvSvn: 3 } } };
  const quote = quoteOf(question);
  assert.deepEqual(oracleSays(quote, question), ["OutOfDate", "INTEL-SA-00837"]);
  assert.deepEqual(weSay(quote, question), ["OutOfDateConfigurationNeeded", "INTEL-SA-00837"]);
});
