/** Run after writing a section anywhere in runbooks/errors.md: sorts them and puts each exit code in front. */
import { writeFileSync } from "node:fs";
import { allCodes, ERRORS_FILE, sections } from "./error-list.ts";

const HEAD = `# Errors

Every code that Sealift can give, what it means and what to do next. Each begins with the exit code of the
verb; a finding of \`verify\` ends it with 3. Codes are permanent.
`;

const codes = await allCodes();
const sorted = sections().sort((a, b) => (a.code < b.code ? -1 : 1));
const parts = sorted.map(({ code, text }) => {
  const meaning = text.replace(/^Exit \d\. /, "");
  return `## ${code}\nExit ${codes.get(code) ?? "?"}. ${meaning}\n`;
});
writeFileSync(ERRORS_FILE, [HEAD, ...parts].join("\n"));
