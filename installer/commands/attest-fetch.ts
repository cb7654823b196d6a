import { plain } from "../../bundles/model/plain-text.ts";
import { collateralItems, firstToEnd, itemText } from "../../verify/attestation/collateral-check.ts";
import {
  COLLATERAL_NAMESPACE,
  writeCollateralKit,
  writeCollateralStatement,
} from "../../verify/attestation/collateral-kit.ts";
import { type CollateralServers, VENDORS_SERVERS } from "../../verify/attestation/collateral-needs.ts";
import { COLLATERAL_REQUEST_MAX_BYTES, readCollateralRequest } from "../../verify/attestation/collateral-request.ts";
import { fetchCollateral } from "../host/fetch-collateral.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { signWithSshKeygen } from "../lifecycle/ssh-keygen.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";

const NAME = "attest fetch";

export const attestFetch: Command = {
  name: NAME,
  summary: "on a connected machine: fetch what attest needs wrote down, and sign it as one file to be carried back",
  usage: "NEEDS --key K --out KIT [--amd-server URL] [--intel-server URL] [--intel-certificates URL]",
  details: [
    "NEEDS          what attest needs wrote",
    "--key K        yours: an OpenSSH private key, or the .pub of one in the agent or on a FIDO token",
    "--out KIT      the signed kit; an existing file is not replaced",
    `--amd-server, --intel-server, --intel-certificates   a cache of your own instead of ${VENDORS_SERVERS.amd},`,
    `               ${VENDORS_SERVERS.intel} and ${VENDORS_SERVERS.intelCertificates}`,
    "The vendors limit requests (429): it waits and asks again. What comes is signed by AMD and Intel, which attest",
    "import checks; your signature says who fetched it and when. Next, on the other side: sealift attest import.",
  ],
  options: {
    key: { type: "string" },
    out: { type: "string" },
    "amd-server": { type: "string" },
    "intel-server": { type: "string" },
    "intel-certificates": { type: "string" },
  },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "NEEDS");
    const key = requiredOption(invocation, NAME, "key");
    const out = requiredOption(invocation, NAME, "out");
    const servers = readServers(invocation);
    const asked = readCollateralRequest(await readBoundedFile(path, COLLATERAL_REQUEST_MAX_BYTES));
    const { terminal } = invocation;
    const fetched = new Date();
    const progress = terminal.progress("fetching");
    const { needs, files } = await fetchCollateral(asked, { servers, onLine: (line) => progress.update(line) });
    progress.done(`${files.length} files`);
    const statementBytes = writeCollateralStatement(needs, fetched, files);
    const signature = await signWithSshKeygen(statementBytes, key, terminal.interactive, COLLATERAL_NAMESPACE);
    await writeNew(out, writeCollateralKit({ statementBytes, signature, files }));
    const items = collateralItems(files);
    for (const item of items) terminal.result(`  ${plain(itemText(item))}`);
    const first = firstToEnd(items);
    terminal.result(`carry it back before ${first?.until.toISOString().slice(0, 10)}: sealift attest import KIT`);
    terminal.document({
      out,
      fetched: fetched.toISOString(),
      until: first?.until.toISOString() ?? null,
      files: files.map(({ name, source }) => ({ name, source })),
    });
    return 0;
  },
};

function readServers(invocation: Invocation): CollateralServers {
  const read = (name: string, fallback: string): string => {
    const text = optionalOption(invocation, name);
    if (text === undefined) return fallback;
    const url = URL.parse(text);
    const isServer = url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.search === "";
    if (isServer && url.hash === "") return text.replace(/\/+$/, "");
    throw usageError(
      NAME,
      `--${name}: got ${JSON.stringify(text)}, want the address of a server, https://… or http://…`,
    );
  };
  return {
    amd: read("amd-server", VENDORS_SERVERS.amd),
    intel: read("intel-server", VENDORS_SERVERS.intel),
    intelCertificates: read("intel-certificates", VENDORS_SERVERS.intelCertificates),
  };
}
