/**
 * Loaded before the product by `node --import`: its clock is SEALIFT_TEST_CLOCK_MS milliseconds ahead of the
 * host's, or behind it. The kernel's uptime goes on as it is, as when somebody sets the clock.
 */
const offsetMs = Number(process.env["SEALIFT_TEST_CLOCK_MS"]);
const TrueDate = globalThis.Date;
const now = (): number => TrueDate.now() + offsetMs;

globalThis.Date = new Proxy(TrueDate, {
  construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
  get: (target, name, receiver) => (name === "now" ? now : Reflect.get(target, name, receiver)),
});
