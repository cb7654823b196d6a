import assert from "node:assert/strict";
import test from "node:test";
import { attestationTable } from "../../support/attestation-table.ts";

test("every row of the table of attestation vectors is as expected", (t) => {
  const { rows, absent } = attestationTable();
  for (const reason of absent) t.diagnostic(`not run: ${reason}`);
  assert.ok(rows.length >= 3);
  assert.deepEqual(
    rows.filter(({ expected, got }) => expected !== got),
    [],
  );
});
