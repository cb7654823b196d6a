/** From an image's entry in the appliance file to the source that brings it. */
import type { ImageSpec } from "../model/appliance.ts";
import { engineSource } from "./engine.ts";
import { layoutSource } from "./oci-layout.ts";
import { recipeSource } from "./recipe/recipe-source.ts";
import { registrySource } from "./registry.ts";
import type { ImageSource } from "./source.ts";

/** @throws SOURCE_REFERENCE_MALFORMED */
export function imageSource(spec: ImageSpec): ImageSource {
  if ("recipe" in spec) return recipeSource(spec.recipe);
  if ("registry" in spec) return registrySource(spec.registry);
  if ("layout" in spec) return layoutSource(spec.layout);
  return engineSource(spec.engine);
}
