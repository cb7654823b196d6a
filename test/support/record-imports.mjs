/** Imports the module that the first argument names and prints what was really loaded for it, one URL a line. */
import { registerHooks } from "node:module";

const loaded = new Set();
registerHooks({
  resolve: (specifier, context, next) => {
    const resolved = next(specifier, context);
    loaded.add(resolved.url);
    return resolved;
  },
});
await import(process.argv[2] ?? "");
process.stdout.write([...loaded].join("\n"));
