/** What the host says of itself in small files; what is not there says nothing. */
import { readdirSync, readFileSync } from "node:fs";

export function readHostFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
