import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { buildKit } from "../../bundles/kit/build-kit.ts";
import { ENGINE_HOSTS, type EngineHost, KIT_PLATFORMS } from "../../bundles/kit/debian-packages.ts";
import { kitError } from "../../bundles/kit/error.ts";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { loadPrivateKey } from "../../bundles/sign/key-file.ts";
import { ownBuilder } from "../host/own-source.ts";
import { cacheDirectory } from "../host/this-host.ts";
import { keyPassword } from "../ui/key-password.ts";
import { type Command, optionalOption, positionals, repeatedOption, requiredOption, usageError } from "./command.ts";

const NAME = "kit build";
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export const kitBuild: Command = {
  name: NAME,
  summary: "make the kit: Sealift itself and the pinned Node as one tar for the other side",
  usage: "--platform P --out FILE [--engine HOST]… [--key K]",
  details: [
    "--platform P          linux/amd64 or linux/arm64; need not be this machine's",
    "--out FILE            the kit; FILE.sha256 is written beside it, and with a key FILE.sig, FILE.pub and",
    "                      FILE.provenance.json (SLSA, signed: what it was made of)",
    "--key K               sign it with this key (`sealift key generate`); not signed if absent",
    "--password-env VAR    the variable with its password; else COSIGN_PASSWORD, else asked for on a terminal",
    "--engine HOST         put in Docker Engine, Compose and ssh-keygen for debian12, debian13 or ubuntu24.04; may be",
    "                      given several times",
    "The last commit is packed, not the working directory. runbooks/kit.md: how the other side checks it.",
  ],
  options: {
    platform: { type: "string" },
    out: { type: "string" },
    key: { type: "string" },
    "password-env": { type: "string" },
    engine: { type: "string", multiple: true },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const wanted = requiredOption(invocation, NAME, "platform");
    const platform = KIT_PLATFORMS.find((known) => known === wanted);
    if (platform === undefined) {
      const got = JSON.stringify(wanted);
      throw kitError("KIT_PLATFORM_UNSUPPORTED", `--platform: got ${got}, want ${KIT_PLATFORMS.join(" or ")}`);
    }
    const out = resolve(requiredOption(invocation, NAME, "out"));
    const engines = [...new Set(repeatedOption(invocation, "engine"))].map(engineHost);
    const keyPath = optionalOption(invocation, "key");
    const key = keyPath === undefined ? undefined : loadPrivateKey(keyPath, await keyPassword(invocation, keyPath));
    const progress = terminal.progress("building the kit");
    const kit = await buildKit({
      root: ROOT,
      platform,
      out,
      key,
      builder: ownBuilder(),
      cacheDir: cacheDirectory(),
      engines,
      onProgress: progress.update,
    });
    progress.done(
      `${Math.round(kit.bytes / 1e6)} MB, ${kit.files} files, ${kit.packages + kit.enginePackages} packages`,
    );
    if (kit.isDirty) terminal.note("note: the checkout has changes that are not committed; they are not in the kit");
    const fingerprint = key && keyFingerprint(key);
    terminal.result(`kit          ${out}`);
    terminal.result(`digest       ${kit.digest}`);
    terminal.result(`made of      sealift ${kit.version}, commit ${kit.commit}, for ${platform}`);
    if (engines.length > 0) {
      terminal.result(`engine       for ${engines.join(" and ")}: ${kit.enginePackages} packages, for host setup`);
    }
    terminal.result(
      fingerprint === undefined
        ? "signature    not signed; the other side can check the digest only"
        : `signature    ${out}.sig, key fingerprint ${fingerprint}: put it on paper`,
    );
    if (key) terminal.result(`provenance   ${out}.provenance.json`);
    terminal.result("Next, on the other side: runbooks/kit.md");
    terminal.document({ ...kit, platform, engines, signed: key !== undefined, fingerprint });
    return 0;
  },
};

function engineHost(wanted: string): EngineHost {
  const known = ENGINE_HOSTS.find((host) => host === wanted);
  if (known !== undefined) return known;
  throw usageError(NAME, `--engine: got ${JSON.stringify(wanted)}, want ${ENGINE_HOSTS.join(" or ")}`);
}
