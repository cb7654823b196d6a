/** The key of a service's principals, whoever signs with it, and what they sign for. */
import { createSecretKey } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Principal, PrincipalSigner } from "../../compose/services/service-kit/src/principal.ts";

const KEYS: Readonly<Record<string, string>> = { audit: "a1".repeat(32), pii: "b2".repeat(32) };

export const PRINCIPAL: Principal = {
  requestId: "request-1",
  tenant: "11111111-1111-4111-8111-111111111111",
  tenantName: "acme",
  actor: "22222222-2222-4222-8222-222222222222",
  role: "user",
};

export function principalKey(service: string) {
  return createSecretKey(Buffer.from(KEYS[service] ?? "", "hex"));
}

/** The file that `service` and the gateway have, in `directory`. */
export function principalKeyFile(directory: string, service: string): string {
  const path = join(directory, `${service}-principal-key`);
  writeFileSync(path, KEYS[service] ?? "");
  return path;
}

export function testSigner(service: string, now?: () => number): PrincipalSigner {
  return new PrincipalSigner(service, principalKey(service), now);
}
