/** The files that the builder writes itself, by name. */
import type { GeneratedFileName } from "../model/appliance.ts";
import { renderTestModel } from "./test-model.ts";

const WRITERS: Readonly<Record<GeneratedFileName, () => Buffer>> = {
  "sealift-test-model": renderTestModel,
};

/** The same bytes on every machine. */
export function generatedFile(name: GeneratedFileName): Buffer {
  return WRITERS[name]();
}
