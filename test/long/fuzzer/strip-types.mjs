import { readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { fileURLToPath } from "node:url";

/** @type {import("node:module").LoadHook} */
export async function load(url, context, next) {
  if (!url.endsWith(".ts")) return next(url, context);
  const source = stripTypeScriptTypes(readFileSync(fileURLToPath(url), "utf8"));
  return { format: "module", shortCircuit: true, source };
}
