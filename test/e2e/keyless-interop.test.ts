/**
 * What cosign 2 and 3 sign without a key, against fakes of Sigstore's services, is verified by `verify-blob`: files
 * and attestations, witnessed by Rekor 1 and 2, by file and by digest. The other direction is in keyless-roles.test.ts.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { promisify } from "node:util";
import { digestOf } from "../../bundles/model/digest.ts";
import type { KeylessServices } from "../../bundles/sign/keyless.ts";
import { sealift } from "../support/command-line.ts";
import { FakeSigstore, identityToken } from "../support/fake-sigstore.ts";
import { requirePeer, skipWithout } from "../support/peers.ts";
import { scratch } from "../support/scratch.ts";

const WHO = { identity: "rob@example.com", issuer: "https://issuer.example" };

interface Signing {
  readonly at: (name: string) => string;
  readonly sign: (verb: "sign-blob" | "attest-blob", bundle: string) => Promise<unknown>;
}

async function prepare(t: TestContext, fake: FakeSigstore): Promise<Signing["at"]> {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  writeFileSync(at("artifact"), "an artifact\n");
  writeFileSync(at("other"), "another artifact\n");
  writeFileSync(at("predicate.json"), '{"a":1}');
  writeFileSync(at("root.json"), fake.trustedRoot());
  writeFileSync(at("foreign-root.json"), new FakeSigstore().trustedRoot());
  writeFileSync(at("token"), identityToken(WHO.identity));
  return at;
}

/** The services must answer meanwhile, so nothing here may wait for a process in their thread. */
const run = promisify(execFile);
const predicate = (verb: string): string[] =>
  verb === "attest-blob" ? ["--type", "custom", "--predicate", "predicate.json"] : [];

async function withCosign2(t: TestContext): Promise<Signing> {
  const fake = new FakeSigstore();
  const at = await prepare(t, fake);
  const { fulcio, rekor, timestamp } = await fake.serve(t);
  const root = JSON.parse(readFileSync(at("root.json"), "utf8")) as {
    tlogs: { publicKey: { rawBytes: string } }[];
    ctlogs: { publicKey: { rawBytes: string } }[];
    certificateAuthorities: { certChain: { certificates: { rawBytes: string }[] } }[];
  };
  const pem = (file: string, label: string, base64: string | undefined): string => {
    writeFileSync(at(file), `-----BEGIN ${label}-----\n${base64 ?? ""}\n-----END ${label}-----\n`);
    return at(file);
  };
  const env = {
    HOME: at("."),
    SIGSTORE_REKOR_PUBLIC_KEY: pem("rekor.pem", "PUBLIC KEY", root.tlogs[0]?.publicKey.rawBytes),
    SIGSTORE_CT_LOG_PUBLIC_KEY_FILE: pem("log.pem", "PUBLIC KEY", root.ctlogs[0]?.publicKey.rawBytes),
    SIGSTORE_ROOT_FILE: pem(
      "fulcio.pem",
      "CERTIFICATE",
      root.certificateAuthorities[0]?.certChain.certificates[0]?.rawBytes,
    ),
  };
  const services = ["--fulcio-url", fulcio, "--rekor-url", rekor, "--timestamp-server-url", timestamp];
  const options = ["--yes", ...services, "--identity-token", "token", "--new-bundle-format"];
  return {
    at,
    sign: (verb, bundle) =>
      run(requirePeer("cosign2"), [verb, ...options, ...predicate(verb), "--bundle", bundle, "artifact"], {
        cwd: at("."),
        env,
      }),
  };
}

/** The services, as cosign 3 wants to be told of them. */
function signingConfig({ fulcio, rekor, rekorVersion, timestamp }: Required<KeylessServices>): string {
  const service = (url: string, majorApiVersion: number) => [
    { url, majorApiVersion, operator: "test", validFor: { start: "2020-01-01T00:00:00Z" } },
  ];
  return JSON.stringify({
    mediaType: "application/vnd.dev.sigstore.signingconfig.v0.2+json",
    caUrls: service(fulcio, 1),
    oidcUrls: [],
    rekorTlogUrls: service(rekor, rekorVersion),
    tsaUrls: service(timestamp, 1),
    rekorTlogConfig: { selector: "ANY" },
    tsaConfig: { selector: "ANY" },
  });
}

async function withCosign3(t: TestContext, rekorVersion: 1 | 2): Promise<Signing> {
  const fake = new FakeSigstore();
  const at = await prepare(t, fake);
  writeFileSync(at("services.json"), signingConfig(await fake.serve(t, rekorVersion)));
  const options = ["--yes", "--signing-config", "services.json", "--trusted-root", "root.json"];
  return {
    at,
    sign: (verb, bundle) => {
      const args = [verb, ...options, "--identity-token", "token", ...predicate(verb), "--bundle", bundle, "artifact"];
      return run(requirePeer("cosign3"), args, { cwd: at("."), env: { HOME: at(".") } });
    },
  };
}

async function verifiesWhatIsSigned({ at, sign }: Signing, times: readonly RegExp[]): Promise<void> {
  for (const [verb, type] of [
    ["sign-blob", "message"],
    ["attest-blob", "https://cosign.sigstore.dev/attestation/v1"],
  ] as const) {
    const bundle = at(`${verb}.json`);
    await sign(verb, bundle);
    const verify = async (artifact: string, who = WHO, root = "root.json", more: readonly string[] = []) =>
      sealift([
        ...["verify-blob", "--bundle", bundle, "--trusted-root", at(root), ...more],
        ...["--certificate-identity", who.identity, "--certificate-oidc-issuer", who.issuer, artifact],
      ]);
    const digest = digestOf(readFileSync(at("artifact")));
    for (const artifact of [at("artifact"), digest]) {
      const { exit, stdout, stderr } = await verify(artifact, WHO, "root.json", ["--predicate-type", type]);
      assert.equal(exit, 0, stderr);
      assert.ok(stdout.includes(`verified: ${digest}`) && stdout.includes(`signed by ${WHO.identity}`), stdout);
      for (const time of times) assert.match(stdout, time);
    }
    const refusals = [
      [await verify(at("other")), "SIGNATURE_OTHER_ARTIFACT"],
      [await verify(at("artifact"), { ...WHO, identity: "mallory@example.com" }), "SIGNATURE_IDENTITY_REFUSED"],
      [await verify(at("artifact"), { ...WHO, issuer: "https://other.example" }), "SIGNATURE_IDENTITY_REFUSED"],
      [await verify(at("artifact"), WHO, "foreign-root.json"), "SIGNATURE_"],
      [await verify(at("artifact"), WHO, "root.json", ["--predicate-type", "x"]), "SIGNATURE_STATEMENT_REFUSED"],
    ] as const;
    for (const [{ exit, stderr }, code] of refusals) {
      assert.equal(exit, 3, stderr);
      assert.ok(stderr.includes(`[${code}`), stderr);
    }
  }
}

test("what cosign 2 signs with a certificate, witnessed by Rekor 1", { skip: skipWithout("cosign2") }, async (t) => {
  await verifiesWhatIsSigned(await withCosign2(t), [/\(rekor\)/, /\(timestamp-authority\)/]);
});

for (const [version, times] of [
  [1, [/\(rekor\)/, /\(timestamp-authority\)/]],
  [2, [/\(timestamp-authority\)/]],
] as const) {
  test(`what cosign 3 signs with a certificate, witnessed by Rekor ${version}`, {
    skip: skipWithout("cosign3"),
  }, async (t) => {
    await verifiesWhatIsSigned(await withCosign3(t, version), times);
  });
}
