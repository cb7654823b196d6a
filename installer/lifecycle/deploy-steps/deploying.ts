/** What the steps of an operation act on. */
import { loadImages } from "../../../compose/engine/load-images.ts";
import { awaitHealthy, type ProjectRun } from "../../../compose/engine/project.ts";
import { type Config, readConfigBytes } from "../../site/config.ts";
import type { Deployment } from "../../site/deployment.ts";
import { requireCarriedFiles } from "../carried-files.ts";
import { baseProject, type DeployContext, type DeployParameters } from "../deploy-context.ts";
import { renderedFile } from "../rendered-file.ts";
import { type ReleaseParts, withStoredRelease } from "../stored-release.ts";

export const START_SECONDS = 180;
export const STOP_SECONDS = 10;

interface LoadWish {
  readonly among?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** What `do` and `undo` of a step act on. */
export class Deploying {
  readonly context: DeployContext;
  readonly parameters: DeployParameters;

  constructor(context: DeployContext, parameters: DeployParameters) {
    this.context = context;
    this.parameters = parameters;
  }

  get run(): ProjectRun {
    const { report, signal } = this.context;
    return { signal, onLine: (line) => report.detail(line) };
  }

  get config(): Config {
    return readConfigBytes(Buffer.from(this.parameters.config), this.parameters.to.config);
  }

  /** The release that the site shall be at, from the store. */
  withNext<Value>(work: (parts: ReleaseParts) => Promise<Value>): Promise<Value> {
    return withStoredRelease(this.context.paths, this.parameters.to.release, work);
  }

  /** The release that the site is at. */
  withCurrent<Value>(work: (parts: ReleaseParts, current: Deployment) => Promise<Value>): Promise<Value> {
    const { current } = this.parameters.before;
    if (!current) throw new TypeError("nothing is installed yet");
    return withStoredRelease(this.context.paths, current.release, (parts) => work(parts, current));
  }

  /** Loads the next release's images, or those of the services that `among` names. @throws as `loadImages` */
  load({ among, signal = this.context.signal }: LoadWish = {}): Promise<void> {
    const { engine, paths, report } = this.context;
    return this.withNext(async (parts) => {
      const { layout, release, template } = parts;
      // A release that was not staged was verified where it lies, every byte of it.
      if (this.parameters.parts.stage) await requireCarriedFiles(paths, parts);
      const images = among?.map((service) => template.services[service]?.image.split("@")[0] ?? "");
      await loadImages(await engine(), layout, release, {
        onProgress: (detail) => report.detail(detail),
        ...(images && { only: images }),
        ...(signal && { signal }),
      });
    });
  }

  /** If this operation started base services: they work, and what is to come may need them. @throws ENGINE_UNHEALTHY */
  async awaitBase(): Promise<void> {
    if (!this.parameters.parts.base) return;
    const { name } = baseProject(this.context, this.parameters.to);
    await awaitHealthy(await this.context.engine(), name, START_SECONDS, this.run);
  }

  /** A file that was rendered for `deployment`, if nobody changed it. @throws as `renderedFile` */
  rendered(deployment: Deployment, file: "base" | "containers"): Buffer {
    return renderedFile(this.context, deployment, file);
  }
}
