/** A container's health check: exit code 0 if the address in the first argument answers 200 within two seconds. */
import { get } from "node:http";

const TIMEOUT_MS = 2_000;

const request = get(process.argv[2] ?? "", { timeout: TIMEOUT_MS }, (response) => {
  process.exit(response.statusCode === 200 ? 0 : 1);
});
request.on("timeout", () => process.exit(1));
request.on("error", () => process.exit(1));
