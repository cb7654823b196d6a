import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createLog } from "../../../../compose/services/service-kit/src/log.ts";
import {
  readServerCertificate,
  watchServerCertificate,
} from "../../../../compose/services/service-kit/src/server-certificate.ts";
import { scratch } from "../../../support/scratch.ts";
import { issueTestCertificate, type TestCertificate } from "../../../support/test-certificate.ts";

async function files(t: TestContext) {
  const directory = await scratch(t);
  return { chainFile: join(directory, "chain.pem"), keyFile: join(directory, "key.pem") };
}

test("refuses a key that is not the certificate's", async (t) => {
  const at = await files(t);
  await assert.rejects(readServerCertificate(at), { code: "ENOENT" });
  await writeFile(at.chainFile, issueTestCertificate().cert);
  await writeFile(at.keyFile, issueTestCertificate().key);
  await assert.rejects(readServerCertificate(at));
  await writeFile(at.keyFile, "no PEM");
  await assert.rejects(readServerCertificate(at));
});

test("takes a new pair when both files fit each other again, and keeps the old one until then", async (t) => {
  const at = await files(t);
  const write = ({ cert, key }: TestCertificate) =>
    Promise.all([writeFile(at.chainFile, cert), writeFile(at.keyFile, key)]);
  await write(issueTestCertificate());
  const used: string[] = [];
  const logged: string[] = [];
  const log = createLog("test", (line) => logged.push(line));
  const watch = watchServerCertificate(
    at,
    await readServerCertificate(at),
    ({ cert }) => used.push(String(cert)),
    log,
    5,
  );
  const next = issueTestCertificate();
  await writeFile(at.chainFile, next.cert);
  while (!logged.some((line) => line.includes("certificate-unusable"))) await sleep(5);
  assert.deepEqual(used, []);
  await writeFile(at.keyFile, next.key);
  while (used.length === 0) await sleep(5);
  await sleep(20);
  watch.stop();
  assert.deepEqual(used, [next.cert]);
});
