import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import pg from "pg";
import { Hold, Passwords } from "../../../../../compose/services/gateway/src/database/reconnect.ts";
import { SettingsError } from "../../../../../compose/services/service-kit/src/settings.ts";
import { scratch } from "../../../../support/scratch.ts";

const refused = (code: string): Error => Object.assign(new pg.DatabaseError("no", 1, "error"), { code });
const unreachable = (): Error => Object.assign(new Error("connect"), { code: "ECONNREFUSED" });

test("a question waits for a database that ends or begins, and for one that does not answer", async () => {
  const failures = [unreachable(), refused("57P01"), refused("57P03"), new Error("Connection terminated unexpectedly")];
  let asked = 0;
  const answer = await new Hold().run(async () => {
    asked += 1;
    const failure = failures.shift();
    if (failure) throw failure;
    return "rows";
  });
  assert.deepEqual([answer, asked], ["rows", 5]);
});

test("what the database says about the question itself is passed on at once", async () => {
  for (const cause of [refused("42501"), refused("28P01"), new SettingsError(["the role is a superuser"])]) {
    let asked = 0;
    const question = async (): Promise<never> => {
      asked += 1;
      throw cause;
    };
    await assert.rejects(new Hold().run(question), cause);
    assert.equal(asked, 1);
  }
});

test("nobody waits for a database that has been away for long, until it has answered again", async () => {
  let time = 0;
  let asked = 0;
  const hold = new Hold({ holdMs: 1_000, now: () => time });
  const question = async (): Promise<never> => {
    asked += 1;
    time += 400;
    throw unreachable();
  };
  await assert.rejects(hold.run(question), /connect/);
  assert.equal(asked, 4);
  await assert.rejects(hold.run(question), /connect/);
  assert.equal(asked, 5, "not one more try");
  assert.equal(await hold.run(async () => "rows"), "rows");
  await assert.rejects(hold.run(question), /connect/);
  assert.equal(asked, 9);
});

test("a password that is refused gives way to the other one, for whoever comes after too", async (t) => {
  const path = join(await scratch(t), "password");
  await writeFile(path, "new\nold");
  const passwords = new Passwords(path);
  let good = "old";
  const tried: string[] = [];
  const connect = (): Promise<string> =>
    passwords.run(async () => {
      const password = await passwords.current();
      tried.push(password);
      if (password !== good) throw refused("28P01");
      return password;
    });
  // At once: of those that are refused only one turns to the other.
  assert.deepEqual(await Promise.all([connect(), connect(), connect()]), ["old", "old", "old"]);
  assert.equal(tried[0], "new", "its own comes first");
  assert.equal(await connect(), "old");
  good = "new";
  assert.equal(await connect(), "new");
  good = "neither";
  await assert.rejects(connect(), { code: "28P01" });
});
