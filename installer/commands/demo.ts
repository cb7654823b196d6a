import { existsSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { DEMO_APPLIANCE } from "../demo/appliances.ts";
import { demoError } from "../demo/error.ts";
import { type Arrived, type Journey, removedText, travel, uninstall } from "../demo/journey.ts";
import { removeDemo } from "../demo/removal.ts";
import { Story } from "../demo/story.ts";
import { Interrupted, Verbs } from "../demo/verbs.ts";
import { type DemoRecord, lockDemo, openWorkplace, readRecord, writeRecord } from "../demo/workplace.ts";
import { confirm } from "../ui/confirm.ts";
import { type Command, type Invocation, optionalOption, positionals } from "./command.ts";

const NAME = "demo";
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** What no run on one machine can show. */
const NEVER_SHOWN = [
  "an air gap: one machine was builder, signers, reviewer and site, and all keys lie beside each other",
  "that this host, its root user, its kernel and its Docker Engine are honest",
  "attestation of a confidential VM",
  "an independent rebuild; `sealift bundle rebuild` on a machine of your own does that",
  "what a model says: the one that comes along has random weights",
];

export const demo: Command = {
  name: NAME,
  summary: "the whole journey on this machine with throwaway keys: build, sign, verify, install, upgrade, rollback",
  usage: "[--keep] [--workdir DIR]",
  details: [
    "--keep         leave the appliance running, and say where it is and how to remove it",
    "--workdir DIR  a new or empty directory for all that it makes (default /var/lib/sealift-demo/work)",
    "--yes          install Docker Engine, if it is missing, without asking",
    "Needs root, a checkout, and npm's and Debian's package servers for what is not in the cache. There is one",
    "demo at a time: a new one first removes what an earlier one left, also one that was kept.",
  ],
  options: { keep: { type: "boolean" }, workdir: { type: "string" } },
  run: async (invocation) => {
    positionals(invocation, NAME);
    requireCheckout();
    requireRoot();
    const lock = lockDemo();
    try {
      return await runDemo(invocation, new Story(invocation.terminal));
    } finally {
      lock.release();
    }
  },
};

/** @throws DEMO_NO_CHECKOUT */
function requireCheckout(): void {
  if (existsSync(`${ROOT}.git`)) return;
  throw demoError(
    "DEMO_NO_CHECKOUT",
    "this is a kit: the demo builds releases from what it fetches, a kit never fetches",
    {
      hints: ["run ./sealift demo in a Git checkout of Sealift, on a machine that reaches package servers"],
    },
  );
}

/** @throws DEMO_NOT_ROOT */
function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw demoError("DEMO_NOT_ROOT", "the demo installs a site, and that needs root; nothing was done", {
    hints: ["sudo ./sealift demo"],
  });
}

async function runDemo(invocation: Invocation, story: Story): Promise<number> {
  const { terminal } = invocation;
  story.say(
    "Sealift demo: a release is built, signed, verified, installed, upgraded and rolled back, all on this " +
      "machine, with throwaway keys. Nothing of it is meant to stay.",
  );
  await removeEarlier(story);
  const record = openWorkplace(optionalOption(invocation, "workdir"), new Date());
  story.say(`Each command runs in ${record.workdir} (and with --json, which the demo reads).`);
  const place = new Place(record);
  const verbs = new Verbs(record.workdir, story);
  const onSignal = (signal: NodeJS.Signals): void => {
    terminal.note(`\n${signal}: what the demo made is removed; this takes a moment`);
    verbs.interrupt(signal);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  const journey: Journey = {
    story,
    verbs,
    record,
    proven: [],
    notShown: [],
    onSite: (siteId) => place.note({ siteId }),
    mayInstallEngine: () => mayInstallEngine(invocation),
  };
  try {
    const arrived = await travel(journey);
    const isKept = invocation.options["keep"] === true;
    if (isKept) place.note({ isKept });
    else await removeInOrder(journey, place);
    tellEnd(invocation, journey, arrived, isKept);
    return 0;
  } catch (cause) {
    try {
      await removeAll(story, place);
    } catch (removal) {
      // Of the two, this one is what somebody must do something about.
      terminal.note(`the demo ended early: ${reasonOf(cause)}`);
      throw removal;
    }
    if (!(cause instanceof Interrupted)) throw cause;
    terminal.document({ schemaVersion: 1, ok: false, endedBy: cause.signal, steps: story.steps });
    return 128 + constants.signals[cause.signal];
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

/** The record as it is on disk; gone once the demo is removed. */
class Place {
  #record: DemoRecord | undefined;

  constructor(record: DemoRecord) {
    this.#record = record;
  }

  note(change: Partial<DemoRecord>): void {
    if (!this.#record) return;
    this.#record = { ...this.#record, ...change };
    writeRecord(this.#record);
  }

  /** Undefined if there is nothing more to remove. @throws DEMO_NOT_REMOVED */
  async remove(): Promise<string | undefined> {
    if (!this.#record) return undefined;
    const counts = await removeDemo(this.#record);
    this.#record = undefined;
    return removedText(counts);
  }
}

async function removeEarlier(story: Story): Promise<void> {
  const earlier = readRecord();
  if (!earlier) return;
  const what = earlier.isKept ? "that was kept" : "that did not end";
  story.blank();
  story.say(`The demo of ${earlier.started} ${what} is removed first: ${earlier.workdir}`);
  const working = story.working();
  try {
    const counts = await removeDemo(earlier);
    working.end();
    story.say(`Removed ${removedText(counts)}.`);
  } finally {
    working.end();
  }
}

async function removeInOrder(journey: Journey, place: Place): Promise<void> {
  const { story, proven } = journey;
  await story.step("Remove it all", async () => {
    await uninstall(journey);
    const left = await place.remove();
    story.fact(`then ${left} were left, and are gone with the directory`);
  });
  proven.push({ what: "the site was removed by its operator, data and all" });
}

async function removeAll(story: Story, place: Place): Promise<void> {
  story.blank();
  const working = story.working();
  try {
    const removed = await place.remove();
    working.end();
    if (removed !== undefined)
      story.say(`The demo ended early. Its directory is removed, and from the engine ${removed}.`);
  } finally {
    working.end();
  }
}

async function mayInstallEngine(invocation: Invocation): Promise<boolean> {
  const { options, terminal } = invocation;
  if (options["yes"] !== true && !terminal.interactive) return false;
  return confirm(invocation, NAME, "Install Docker Engine on this host, from the distribution's packages?");
}

function tellEnd(invocation: Invocation, journey: Journey, arrived: Arrived, isKept: boolean): void {
  const { story, proven, record } = journey;
  const notShown = [...journey.notShown, ...NEVER_SHOWN];
  story.blank();
  story.say("Proven here:");
  for (const { what, command } of proven) {
    story.say(what, "  + ");
    if (command !== undefined) story.sayCommand(command, "      ");
  }
  story.blank();
  story.say("Not proven, or not shown:");
  for (const what of notShown) story.say(what, "  - ");
  story.blank();
  const lookAround = isKept ? tellKept(story, record, arrived) : [];
  if (!isKept) story.say("All is removed. With --keep it stays, and the commands above prove it again.");
  story.say(`${story.seconds.toFixed(0)} s in all.`);
  invocation.terminal.document({
    schemaVersion: 1,
    ok: true,
    appliance: DEMO_APPLIANCE,
    seconds: story.seconds,
    steps: story.steps,
    proven,
    notShown,
    kept: isKept
      ? { address: arrived.front.address, workdir: record.workdir, apiKey: arrived.key ?? null, commands: lookAround }
      : null,
  });
}

/** Returns the commands. */
function tellKept(story: Story, { workdir }: DemoRecord, { front, key }: Arrived): string[] {
  story.say(`It runs at ${front.address}${key === undefined ? "" : `, with the API key ${key}`}`);
  const trusted = front.authority === undefined ? "" : "--cacert state/site/client-ca.pem ";
  const header = key === undefined ? "" : ` -H 'Authorization: Bearer ${key}'`;
  const look = [
    `cd ${workdir}; alias sealift=${ROOT}sealift`,
    "sealift status --state state",
    "sealift logs --state state",
    "sealift ledger show --state state",
    `curl ${trusted}${front.address}/healthz`,
    ...(key === undefined ? [] : [`curl ${trusted}${front.address}/v1/models${header}`]),
  ];
  const remove = ["sealift uninstall --purge-data --key DEMO-operator --state state", `cd /; rm -r ${workdir}`];
  story.say("Look around:");
  for (const line of look) story.sayCommand(line, "  ");
  story.say("Remove it (the next `sealift demo` does so too):");
  for (const line of remove) story.sayCommand(line, "  ");
  story.blank();
  return [...look, ...remove];
}
