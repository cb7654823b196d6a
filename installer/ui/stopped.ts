/** The person at a prompt said, with Ctrl-C, Ctrl-D or a choice, that they do not want to go on. */

/** As after SIGINT. */
export const STOPPED_EXIT = 130;

/** Thrown by prompts only, and no prompt comes after something was changed. */
export class Stopped extends Error {
  constructor() {
    super("stopped; nothing was changed");
    this.name = "Stopped";
  }
}
