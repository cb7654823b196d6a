/** Runs the toy operation in the state directory argv[2] and kills itself with SIGKILL at disk call argv[3]. */
import { digestOf } from "../../bundles/model/digest.ts";
import { execute } from "../../installer/lifecycle/execute.ts";
import { hostClock } from "../../installer/site/clock.ts";
import { type Disk, hostDisk } from "../../installer/site/disk.ts";
import { statePaths } from "../../installer/site/state.ts";
import { toyOperation } from "./toy-operation.ts";

const [, , directory = "", at = ""] = process.argv;
let calls = 0;

const disk = new Proxy(hostDisk, {
  get: (target, name) => {
    const call = target[name as keyof Disk] as (...given: unknown[]) => unknown;
    return (...given: unknown[]): unknown => {
      if (name !== "close") calls += 1;
      if (calls < Number(at)) return call(...given);
      // Half of a write gets out first.
      if (name === "write") call(given[0], (given[1] as Uint8Array).subarray(0, 20), given[2]);
      process.kill(process.pid, "SIGKILL");
      for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    };
  },
});

const ground = { paths: statePaths(directory), disk, clock: hostClock };
await execute(ground, toyOperation, ground, {}, digestOf("an authorization"));
