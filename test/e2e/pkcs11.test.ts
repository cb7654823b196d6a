/** A release key that never leaves a PKCS #11 token: `bundle sign --signer` with pkcs11-tool and SoftHSM. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { keyNames } from "../../bundles/model/public-key.ts";
import { publicKeyPem } from "../../bundles/sign/key-file.ts";
import { verifySigstoreBundle } from "../../verify/signature/signature.ts";
import { sealift } from "../support/command-line.ts";
import { skipWithout, softToken } from "../support/peers.ts";
import { scratch } from "../support/scratch.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

test("a token signs a release, and neither a wrong PIN nor another key on it does", {
  skip: skipWithout("softhsm2-util"),
}, async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  await mkdir(at("tokens"));
  await writeFile(at("softhsm2.conf"), `directories.tokendir = ${at("tokens")}\n`);
  const { tool, module, libraries } = softToken();
  const token = ["--module", module, "--token-label", "release"];
  const call = (...args: readonly string[]): Buffer =>
    execFileSync(tool, args, {
      env: { ...process.env, LD_LIBRARY_PATH: libraries, SOFTHSM2_CONF: at("softhsm2.conf") },
      stdio: ["ignore", "pipe", "pipe"],
    });
  call("--module", module, "--slot-index", "0", "--init-token", "--label", "release", "--so-pin", "5678");
  call(...token, "--login", "--login-type", "so", "--so-pin", "5678", "--init-pin", "--new-pin", "1234");
  for (const id of ["01", "02"]) {
    call(...token, "--login", "--pin", "1234", "--keypairgen", "--key-type", "EC:prime256v1", "--id", id);
  }
  const der = call(...token, "--read-object", "--type", "pubkey", "--id", "01");
  const publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
  await writeFile(at("token.pub"), publicKeyPem(publicKey));

  const signWith = async (pin: string, id: string, out: string) => {
    const sign = [tool, ...token, "--login", "--pin", pin, "--id", id].map((word) => `'${word}'`).join(" ");
    const script = `#!/bin/sh
export SOFTHSM2_CONF='${at("softhsm2.conf")}'
openssl dgst -sha256 -binary | LD_LIBRARY_PATH='${libraries}' ${sign} \\
  --sign --mechanism ECDSA --input-file /dev/stdin --output-file /dev/stdout 2>/dev/null
`;
    await writeFile(at("sign.sh"), script, { mode: 0o755 });
    const key = ["--signer", at("sign.sh"), "--public-key", at("token.pub")];
    return sealift(["bundle", "sign", "--digest", DIGEST, "--out", out, ...key]);
  };
  const signed = await signWith("1234", "01", at("signature"));
  assert.equal(signed.exit, 0, signed.stderr);
  const { sigstoreBundle } = JSON.parse(await readFile(at("signature"), "utf8")) as { sigstoreBundle: object };
  const trusted = { ...keyNames(publicKey), holder: "token", publicKey };
  const { statement } = verifySigstoreBundle(Buffer.from(JSON.stringify(sigstoreBundle)), [trusted]);
  assert.equal(statement.subject, DIGEST);
  for (const [pin, id] of [
    ["9999", "01"],
    ["1234", "02"],
  ] as const) {
    const refused = await signWith(pin, id, at("other"));
    assert.equal(refused.exit, 5, refused.stdout);
    assert.match(refused.stderr, /SIGNER_FAILED/);
  }
});
