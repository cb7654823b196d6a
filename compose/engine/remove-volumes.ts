/** Removes the data of a site: every volume with its label, also one that no present release names any more. */
import { connect, connectionError, type Engine } from "./engine.ts";
import { siteVolumes } from "./project.ts";

/** No container may use them. Nothing if there are none. @throws ENGINE_UNREACHABLE | ENGINE_PERMISSION | ENGINE_CALL_FAILED */
export async function removeSiteVolumes(engine: Engine, siteId: string): Promise<void> {
  const docker = await connect(engine);
  for (const name of await siteVolumes(engine, siteId)) {
    try {
      await docker.getVolume(name).remove();
    } catch (cause) {
      if ((cause as { readonly statusCode?: number }).statusCode !== 404)
        throw connectionError(engine.socketPath, cause);
    }
  }
}
