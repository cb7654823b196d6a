/** HTML from texts that nobody vouches for. */
import { plain } from "../bundles/model/plain-text.ts";

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Text for an element or a quoted attribute. */
export function html(text: string): string {
  return plain(text).replace(/[&<>"']/g, (character) => ENTITIES[character] as string);
}

/** `id` and the rows' `data-status` are for the filter; `rows` are ready HTML. */
export function table(names: readonly string[], rows: readonly string[], id = ""): string {
  const head = names.map((name) => `<th scope="col">${name}</th>`).join("");
  const mark = id === "" ? "" : ` id="${id}"`;
  return `<div class="scroll"><table${mark}>\n<thead><tr>${head}</tr></thead>\n<tbody>\n${rows.join("\n")}\n</tbody>\n</table></div>`;
}

/** Where the page's script puts what filters the table `id`; nothing without scripting. */
export function filterPlace(id: string): string {
  return `<div class="filter" data-filters="${id}"></div>`;
}
