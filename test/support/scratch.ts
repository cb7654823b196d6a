/** A directory of a test's own, removed when the test ends. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export async function scratch(context: { after(work: () => Promise<void>): void }): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "sealift-test-"));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
