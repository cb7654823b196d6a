/** A certificate for `localhost` and 127.0.0.1 under an authority of its own, for tests of TLS. */
import { generateKeyPairSync } from "node:crypto";
import { writeCertificate } from "../../compose/services/service-kit/src/certificate.ts";

export interface TestCertificate {
  /** PEM, all three. */
  readonly authority: string;
  readonly cert: string;
  readonly key: string;
}

const DAY_MS = 86_400_000;

export function issueTestCertificate(type: "ec" | "rsa" = "ec"): TestCertificate {
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const leaf =
    type === "ec"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : generateKeyPairSync("rsa", { modulusLength: 2048 });
  const issuer = { name: "test authority", privateKey: authority.privateKey };
  const common = {
    issuer,
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + DAY_MS),
  };
  return {
    authority: writeCertificate({
      ...common,
      subject: issuer.name,
      publicKey: authority.publicKey,
      purposes: ["server"],
      authority: { pathLength: 0, limits: { dns: ["localhost"], ip: ["127.0.0.1"] } },
    }),
    cert: writeCertificate({
      ...common,
      subject: "localhost",
      publicKey: leaf.publicKey,
      purposes: ["server"],
      names: ["localhost", "127.0.0.1"],
    }),
    key: leaf.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}
