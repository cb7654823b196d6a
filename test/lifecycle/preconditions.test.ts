import assert from "node:assert/strict";
import { createServer } from "node:net";
import test from "node:test";
import { requireFreePort, requireRoom } from "../../installer/lifecycle/preconditions.ts";
import { scratch } from "../support/scratch.ts";

const TOO_MUCH = 2 ** 52;

test("what is written to one file system is added up, and named", async (t) => {
  const directory = await scratch(t);
  requireRoom([{ directory, bytes: 1, what: "a byte" }]);
  requireRoom([]);
  const half = { directory, bytes: TOO_MUCH / 2 };
  assert.throws(
    () =>
      requireRoom([
        { ...half, what: "the images" },
        { ...half, what: "the backup" },
      ]),
    {
      code: "SITE_DISK_SHORT",
      message: /got \d+ MB free, want 4503599628 MB for the images and the backup$/,
    },
  );
});

test("a port that somebody holds is busy, a free one is not", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await assert.rejects(requireFreePort({ host: "127.0.0.1", port }), { code: "SITE_PORT_BUSY" });
  await new Promise((resolve) => server.close(resolve));
  await requireFreePort({ host: "127.0.0.1", port });
});
