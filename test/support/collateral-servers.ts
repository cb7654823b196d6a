/** AMD's key server and Intel's certification service, with the addresses that they have and what simulators sign. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import {
  COLLATERAL_NAMESPACE,
  type FetchedFile,
  writeCollateralKit,
  writeCollateralStatement,
} from "../../verify/attestation/collateral-kit.ts";
import { addressesOf, type CollateralNeed } from "../../verify/attestation/collateral-needs.ts";
import { SIMULATED_TCB, type Simulator } from "../../verify/attestation/simulator.ts";
import type { Tcb } from "../../verify/attestation/snp-product.ts";
import type { ListChanges, TdxSimulator } from "../../verify/attestation/tdx-simulator.ts";
import { sshSign, type TestSigner } from "./ssh-signer.ts";

const DAY_MS = 86_400_000;
export const LIST_DAYS = 46;

export interface VendorAnswer {
  readonly body: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Path and query → answer; an address that the vendors do not have is not in it. */
export type VendorAnswers = ReadonlyMap<string, VendorAnswer>;

export function pem(...certificates: readonly Buffer[]): string {
  return certificates
    .map(
      (der) =>
        `-----BEGIN CERTIFICATE-----\n${der.toString("base64").replace(/.{64}/g, "$&\n").trimEnd()}\n-----END CERTIFICATE-----\n`,
    )
    .join("");
}

/** As kdsintf.amd.com answers for this chip with this firmware. */
export function amdAnswers(
  by: Simulator,
  from: Date,
  { number = 1, tcb = SIMULATED_TCB, days = LIST_DAYS }: { number?: number; tcb?: Tcb; days?: number } = {},
): VendorAnswers {
  const base = `/vcek/v1/${by.product}`;
  const two = (value: number): string => `${value}`.padStart(2, "0");
  const query = `blSPL=${two(tcb.bootloader)}&teeSPL=${two(tcb.tee)}&snpSPL=${two(tcb.snp)}&ucodeSPL=${two(tcb.microcode)}`;
  const list = { number, thisUpdate: from, nextUpdate: new Date(from.getTime() + days * DAY_MS) };
  return new Map([
    [`${base}/${by.chipId.toString("hex")}?${query}`, { body: by.leafCertificate(tcb) }],
    [`${base}/cert_chain`, { body: Buffer.from(pem(by.intermediateCertificate, by.rootCertificate)) }],
    [`${base}/crl`, { body: by.revocationList(list) }],
  ]);
}

export interface IntelChanges {
  readonly tcbInfo?: Buffer;
  readonly identity?: Buffer;
  readonly root?: ListChanges;
  readonly platform?: ListChanges;
}

/** As api.trustedservices.intel.com and certificates.trustedservices.intel.com answer for this platform. */
export function intelAnswers(by: TdxSimulator, fmspc: string, changes: IntelChanges = {}): VendorAnswers {
  const header = (...certificates: readonly Buffer[]): string => encodeURIComponent(pem(...certificates));
  const signing = header(by.signingCertificate, by.rootCertificate);
  return new Map([
    [
      `/tdx/certification/v4/tcb?fmspc=${fmspc}`,
      { body: changes.tcbInfo ?? by.tcbInfo(), headers: { "TCB-Info-Issuer-Chain": signing } },
    ],
    [
      "/tdx/certification/v4/qe/identity",
      { body: changes.identity ?? by.enclaveIdentity(), headers: { "SGX-Enclave-Identity-Issuer-Chain": signing } },
    ],
    [
      "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
      {
        body: by.revocationList("platform", changes.platform),
        headers: { "SGX-PCK-CRL-Issuer-Chain": header(by.authorityCertificate, by.rootCertificate) },
      },
    ],
    ["/IntelSGXRootCA.der", { body: by.revocationList("root", changes.root) }],
  ]);
}

/** What a connected machine brings for `needs`, without a network. */
export function filesFrom(answers: VendorAnswers, needs: readonly CollateralNeed[]): FetchedFile[] {
  const files = needs.flatMap((need) =>
    addressesOf(need).flatMap(({ url, name, chain }) => {
      const { pathname, search } = new URL(url);
      const answer = answers.get(`${pathname}${search}`);
      if (answer === undefined) throw new Error(`nobody answers at ${url}`);
      const text = chain && decodeURIComponent(answer.headers?.[chain.header] ?? "");
      return [
        { name, bytes: answer.body, source: url },
        ...(chain && text !== undefined ? [{ name: chain.name, bytes: Buffer.from(text), source: url }] : []),
      ];
    }),
  );
  return [...new Map(files.map((file) => [file.name, file])).values()];
}

/** A kit of these files, signed. */
export function kitOf(
  signer: TestSigner,
  needs: readonly CollateralNeed[],
  fetched: Date,
  files: readonly FetchedFile[],
  namespace = COLLATERAL_NAMESPACE,
): Buffer {
  const statementBytes = writeCollateralStatement(needs, fetched, files);
  return writeCollateralKit({ statementBytes, signature: sshSign(signer, statementBytes, { namespace }), files });
}

export interface VendorServer {
  readonly url: string;
  /** Every path that was asked for, in order. */
  readonly asked: readonly string[];
}

/** Both vendors behind one address on loopback. `fault` may answer instead: a status, and perhaps when to ask again. */
export async function startVendors(
  context: { after(work: () => Promise<void>): void },
  answers: VendorAnswers,
  fault: (path: string, times: number) => { readonly status: number; readonly retryAfter?: string } | undefined = () =>
    undefined,
): Promise<VendorServer> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    asked.push(path);
    const wrong = fault(path, asked.filter((one) => one === path).length);
    const answer = answers.get(path);
    if (wrong) {
      const headers = wrong.retryAfter === undefined ? {} : { "retry-after": wrong.retryAfter };
      response.writeHead(wrong.status, headers).end(canonicalJson({ error: wrong.status }));
    } else if (answer) response.writeHead(200, { ...answer.headers }).end(answer.body);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(
    () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  );
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}
