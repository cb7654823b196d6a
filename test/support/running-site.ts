/** A site on a test's own engine, driven as an operator does: the real CLI, one signature a change. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { ImageStore } from "../../compose/engine/engine.ts";
import { type CommandResult, sealift } from "./command-line.ts";
import { type OwnEngine, startOwnEngine } from "./own-engine.ts";
import { type EnrolledSite, enrolSite } from "./ready-site.ts";
import { realTrust } from "./real-release.ts";

export interface SiteStatus {
  readonly siteId: string;
  readonly state: string;
  readonly current: {
    readonly id: string;
    readonly version: string;
    readonly colour: string;
    readonly release: string;
  } | null;
  readonly previous: { readonly version: string } | null;
  readonly problems: readonly string[];
  readonly containers: readonly { readonly service: string; readonly project: string; readonly healthy: boolean }[];
}

export class RunningSite {
  readonly engine: OwnEngine;
  readonly site: EnrolledSite;

  private constructor(engine: OwnEngine, site: EnrolledSite) {
    this.engine = engine;
    this.site = site;
  }

  /**
   * Within `inOwnMachine`: an engine and an enrolled site below `directory`, with nothing installed. The engine's
   * data lies on a file system of `engineBytes`, if they are given.
   */
  static async start(directory: string, store: ImageStore, engineBytes?: number): Promise<RunningSite> {
    const [engineDirectory, siteDirectory] = [join(directory, "engine"), join(directory, "site")];
    await mkdir(engineDirectory);
    // A test may have mounted something there.
    await mkdir(siteDirectory, { recursive: true });
    const engine = await startOwnEngine(engineDirectory, {
      store,
      ...(engineBytes !== undefined && { diskBytes: engineBytes }),
    });
    try {
      return new RunningSite(engine, await enrolSite(siteDirectory, await realTrust()));
    } catch (cause) {
      await engine.stop();
      throw cause;
    }
  }

  /** Arguments of a verb that changes the site, with the operator's signature. */
  signed(...args: readonly string[]): string[] {
    return [...args, "--key", this.site.operatorKey, "--state", this.site.state];
  }

  run(...args: readonly string[]): Promise<CommandResult> {
    return sealift([...args, "--state", this.site.state]);
  }

  /** @throws if the verb does not succeed */
  async change(...args: readonly string[]): Promise<CommandResult> {
    const result = await sealift(this.signed(...args));
    assert.equal(result.exit, 0, `${args.join(" ")}\n${result.stdout}${result.stderr}`);
    return result;
  }

  /** The verb fails with this exit code and error code, and says so. */
  async refused(exit: number, code: string, ...args: readonly string[]): Promise<CommandResult> {
    const result = await sealift(this.signed(...args));
    const said = `${args.join(" ")}\n${result.stdout}${result.stderr}`;
    assert.equal(result.exit, exit, said);
    assert.ok(result.stderr.includes(`[${code}]`), said);
    return result;
  }

  async status(): Promise<SiteStatus> {
    return JSON.parse((await this.run("status", "--json")).stdout) as SiteStatus;
  }

  /** Healthy, at this version. */
  async assertAt(version: string): Promise<SiteStatus> {
    const status = await this.status();
    assert.deepEqual(status.problems, []);
    assert.equal(status.state, "healthy");
    assert.equal(status.current?.version, version);
    return status;
  }
}
