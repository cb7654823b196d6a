/** Runs `work` on each item, at most `limit` at once, and gives the results in the items' order. */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  limit: number,
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  const rest = items.entries();
  // One iterator for all workers: each item goes to whoever is free. The first failure stops the hand-out.
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const [index, item] of rest) {
      if (failed) return;
      try {
        results[index] = await work(item, index);
      } catch (cause) {
        failed = true;
        throw cause;
      }
    }
  };
  // All are awaited even if one fails, so that nobody still writes when the caller cleans up.
  const ends = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, worker));
  const failure = ends.find((end) => end.status === "rejected");
  if (failure) throw failure.reason;
  return results;
}
