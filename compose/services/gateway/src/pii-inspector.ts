/** The inspector that asks the pii service. */
import type { Peer } from "@sealift/service-kit/peer-client.ts";
import type { InspectedText, Inspection, Inspector } from "./inspector.ts";

/** The answer of `POST /v1/scan`, as far as the gateway reads it. */
interface ScanAnswer {
  readonly decision: Inspection["decision"];
  readonly texts: readonly (InspectedText & { readonly findings: readonly { readonly class: string }[] })[];
}

export function piiInspector(peer: Pick<Peer, "post">): Inspector {
  return {
    async inspect({ requestId, tenant, channel, texts }) {
      const numbered = texts.map((text, index) => ({ id: String(index), ...text }));
      const answer = (await peer.post("/v1/scan", { tenant, channel, texts: numbered }, requestId)) as ScanAnswer;
      const findings: Record<string, number> = {};
      for (const text of answer.texts) {
        for (const { class: name } of text.findings) findings[name] = (findings[name] ?? 0) + 1;
      }
      if (answer.texts.length !== texts.length) throw new Error("another number of texts");
      return { decision: answer.decision, findings, texts: answer.texts };
    },
  };
}
