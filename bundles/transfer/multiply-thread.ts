/** A thread of multiply.ts: its files are open in this process already. */
import { parentPort, workerData } from "node:worker_threads";
import { multiplyColumns, type Sums } from "./multiply.ts";
import { writeAt } from "./parts-disk.ts";

const { sums, begin, end } = workerData as { readonly sums: Sums; readonly begin: number; readonly end: number };
multiplyColumns(sums, begin, end, writeAt, (bytes) => parentPort?.postMessage(bytes));
