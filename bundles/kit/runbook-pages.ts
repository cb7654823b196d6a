/**
 * The kit's Markdown as pages: one self-contained HTML file beside each, for a host that has a browser, or a pager, and
 * nothing else. No script, nothing that is loaded; links between pages work from a disk.
 */
import { posix } from "node:path";
import { kitError } from "./error.ts";

/** Narrow lines, readable in light and dark, and on paper. */
const STYLE = `
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { padding: .7rem; border: 1px solid #8886; overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
@media print { pre { white-space: pre-wrap; } }
`;
/** Whatever a page should hold by mistake, a browser runs and fetches nothing of it. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const START = "runbooks/README.md";
const INDEX = "index.html";

/**
 * `texts`: the kit's Markdown files by path; `paths`: all files of the kit. Returns the pages by path: `X.html` for each
 * `X.md`, and an `index.html` for each directory that a page links to. The same texts give the same bytes.
 * @throws KIT_SOURCE_REFUSED for a link to something that is not in the kit
 */
export async function runbookPages(
  texts: ReadonlyMap<string, string>,
  paths: ReadonlySet<string>,
): Promise<Map<string, string>> {
  const pages = new Map<string, string>();
  const directories = new Set<string>();
  const titles = new Map<string, string>();
  const start = texts.has(START) ? pageOf(START) : undefined;
  for (const [path, text] of texts) {
    const { title = path, body } = await rendered(text, (href) => {
      const target = targetOf(path, href);
      if (target === undefined) return href;
      const isDirectory = [...texts.keys()].some((one) => posix.dirname(one) === target.path);
      if (isDirectory) directories.add(target.path);
      else if (!paths.has(target.path)) {
        throw kitError(
          "KIT_SOURCE_REFUSED",
          `${path}: a link leads to ${JSON.stringify(href)}, which is not in the kit`,
        );
      }
      if (isDirectory) return posix.join(href, INDEX);
      return texts.has(target.path)
        ? `${href.slice(0, href.length - target.anchor.length - 3)}.html${target.anchor}`
        : href;
    });
    titles.set(path, title);
    pages.set(pageOf(path), page(pageOf(path), start, title, body));
  }
  for (const directory of directories) {
    const inside = [...titles]
      .filter(([path]) => posix.dirname(path) === directory)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const items = inside.map(
      ([path, title]) => `<li><a href="${escaped(posix.basename(pageOf(path)))}">${escaped(title)}</a></li>`,
    );
    const path = `${directory}/${INDEX}`;
    pages.set(path, page(path, start, directory, `<h1>${escaped(directory)}</h1>\n<ul>\n${items.join("\n")}\n</ul>\n`));
  }
  return pages;
}

function pageOf(path: string): string {
  return path.replace(/\.md$/, ".html");
}

/** Undefined for what is no file of the kit: another site's address, or a place on the same page. */
function targetOf(from: string, href: string): { readonly path: string; readonly anchor: string } | undefined {
  if (/^(?:[a-z][a-z0-9+.-]*:|#)/i.test(href)) return undefined;
  const [, file = "", anchor = ""] = /^([^#]*)(#.*)?$/.exec(href) ?? [];
  return { path: posix.join(posix.dirname(from), file).replace(/\/$/, ""), anchor };
}

/** `start` is the page where all begins, undefined if there is none. */
function page(path: string, start: string | undefined, title: string, body: string): string {
  const way = start === undefined || start === path ? undefined : posix.relative(posix.dirname(path), start);
  const navigation = way === undefined ? "" : `<nav><a href="${way}">Runbooks</a></nav>\n`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
${navigation}${body}</body>
</html>
`;
}

/** `link` says where a link leads in the page. Raw HTML in the text is shown and not taken. */
async function rendered(
  text: string,
  link: (href: string) => string,
): Promise<{ readonly title: string | undefined; readonly body: string }> {
  // Only here: a kit that is installed builds no kit, and does not carry it.
  const { Marked } = await import("marked");
  const taken = new Map<string, number>();
  let title: string | undefined;
  const marked = new Marked({
    async: false,
    walkTokens: (token) => {
      if (token.type === "link") token["href"] = link(String(token["href"]));
    },
    renderer: {
      html: (token) => escaped(token.raw),
      heading({ tokens, depth }) {
        const plain = tokens.map(textOf).join("");
        title ??= plain;
        return `<h${depth} id="${escaped(anchorOf(plain, taken))}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
      },
    },
  });
  const body = marked.parse(text) as string;
  return { title, body };
}

interface TextToken {
  readonly text?: string;
  readonly raw: string;
  readonly tokens?: readonly TextToken[] | undefined;
}

function textOf({ text, raw, tokens }: TextToken): string {
  return tokens ? tokens.map(textOf).join("") : (text ?? raw);
}

/** As GitHub names headings, so that a link holds in both places. */
function anchorOf(heading: string, taken: Map<string, number>): string {
  const anchor = heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
  const times = taken.get(anchor) ?? 0;
  taken.set(anchor, times + 1);
  return times === 0 ? anchor : `${anchor}-${times}`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
