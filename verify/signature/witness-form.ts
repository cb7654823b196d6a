/** The form of the witnesses in a certificate's bundle, where @sigstore/verify leaves it open. Nothing is verified. */
import type { Bundle } from "@sigstore/bundle";
import { signatureError } from "./error.ts";

const WITNESSES_MAX = 4;
const HASHES_MAX = 64;
const CHECKPOINT_MAX_LENGTH = 8 * 1024;
const TIMESTAMP_MAX_BYTES = 16 * 1024;

/**
 * A timestamp's frame and the further signatures of a checkpoint are signed by nobody whom we know. They decide
 * nothing, but they are bytes that anybody can change; so there may be few of them. @throws SIGNATURE_MALFORMED
 */
export function requireWitnessForm({ verificationMaterial }: Bundle): void {
  const { tlogEntries, timestampVerificationData } = verificationMaterial;
  const timestamps = timestampVerificationData?.rfc3161Timestamps ?? [];
  const isBounded =
    tlogEntries.length <= WITNESSES_MAX &&
    timestamps.length <= WITNESSES_MAX &&
    timestamps.every(({ signedTimestamp }) => signedTimestamp.length <= TIMESTAMP_MAX_BYTES) &&
    tlogEntries.every(
      ({ inclusionProof }) =>
        (inclusionProof?.hashes.length ?? 0) <= HASHES_MAX &&
        (inclusionProof?.checkpoint?.envelope.length ?? 0) <= CHECKPOINT_MAX_LENGTH,
    );
  if (!isBounded) {
    const what = "more witnesses, or larger ones, than one signature needs";
    throw signatureError("SIGNATURE_MALFORMED", `Sigstore bundle: ${what}`);
  }
  for (const entry of tlogEntries) requireProofOfCheckpoint(entry);
}

type LogEntry = Bundle["verificationMaterial"]["tlogEntries"][number];

/** A signed note (C2SP tlog-checkpoint): origin, tree size, root hash, more lines, and signatures. */
const CHECKPOINT =
  /^[^\n]+\n([0-9]{1,19})\n([A-Za-z0-9+/]{43}=)\n(?:[^\n]+\n)*\n((?:\u2014 \S+ [A-Za-z0-9+/]+={0,2}\n)+)$/u;

/**
 * @sigstore/verify takes size and root from the checkpoint alone, others from the members beside it: they must agree.
 * So must the entry's own index, which only a log of version 1 signs. And base64 has one spelling, which Node does
 * not insist on. @throws SIGNATURE_WITNESS_REFUSED
 */
function requireProofOfCheckpoint({ inclusionProof, inclusionPromise, logIndex }: LogEntry): void {
  if (!inclusionProof) return;
  const { checkpoint, rootHash, treeSize } = inclusionProof;
  const isPlaced = inclusionPromise !== undefined || logIndex === inclusionProof.logIndex;
  const [, size, root = "", signatures = ""] = CHECKPOINT.exec(checkpoint?.envelope ?? "") ?? [];
  const spelled = [root, ...signatures.split("\n").flatMap((line) => line.split(" ")[2] ?? [])];
  const isExact = spelled.every((text) => Buffer.from(text, "base64").toString("base64") === text);
  if (isExact && isPlaced && size === treeSize && root === rootHash.toString("base64")) return;
  throw signatureError("SIGNATURE_WITNESS_REFUSED", "Sigstore bundle: its inclusion proof and its checkpoint differ");
}
