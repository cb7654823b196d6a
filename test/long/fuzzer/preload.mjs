/** Before Jazzer.js: its own loader instruments JavaScript, so ours takes the types off first. */
import { register } from "node:module";

register("./strip-types.mjs", import.meta.url);
