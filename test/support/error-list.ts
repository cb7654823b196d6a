/** The codes that Sealift can give, and what runbooks/errors.md says about each. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const ours = (pattern: string): string[] =>
  globSync(pattern, { cwd: ROOT, exclude: ["**/node_modules/**", "compose/services/**"] }).map((file) =>
    join(ROOT, file),
  );

export const ERRORS_FILE = join(ROOT, "runbooks/errors.md");

/** Words in capitals that are no codes: names that others have given. */
const OTHER_NAMES = ["LD_LIBRARY_PATH", "SHA2_256", "SEPT_VE_DISABLE", "TDX_01", "TD_QE"];
/** What a check says when it denies. */
const DENIED = 3;

/** Every code that Sealift can give, with its exit code. */
export async function allCodes(): Promise<Map<string, number>> {
  const codes = new Map<string, number>();
  const add = (code: string, exit: number, where: string): void => {
    const before = codes.get(code);
    assert.ok(before === undefined || before === exit, `${code} has exits ${before} and ${exit} (${where})`);
    codes.set(code, exit);
  };
  // All but services, whose answers are HTTP problems and not a person's errors.
  for (const file of ours("{bundles,sbom,verify,compose,installer}/**/error.ts")) {
    const module = (await import(pathToFileURL(file).href)) as Record<string, { codes?: Record<string, number> }>;
    const areas = Object.values(module).filter((value) => value.codes !== undefined);
    assert.ok(areas.length > 0, `${file} declares no codes`);
    for (const area of areas) for (const [code, exit] of Object.entries(area.codes ?? {})) add(code, exit, file);
  }
  for (const [, code = ""] of readFileSync(join(ROOT, "sealift"), "utf8").matchAll(/\bfail ([A-Z_]+)/g)) {
    add(code, 4, "sealift");
  }
  for (const file of [...ours("verify/**/*.ts"), ...ours("bundles/model/compose-template.ts")]) {
    for (const [, code = ""] of readFileSync(file, "utf8").matchAll(/"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"/g)) {
      if (!OTHER_NAMES.includes(code) && !codes.has(code)) add(code, DENIED, file);
    }
  }
  return codes;
}

export interface Section {
  readonly code: string;
  readonly text: string;
}

export function sections(): Section[] {
  const [, ...parts] = readFileSync(ERRORS_FILE, "utf8").split(/^## /m);
  return parts.map((part) => {
    const [code = "", ...text] = part.split("\n");
    return { code, text: text.join("\n").trim() };
  });
}
