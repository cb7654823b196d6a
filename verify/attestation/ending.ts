/** When something of the collateral will do no longer. */
export interface Ending {
  /** For a person, e.g. `certificate SEV-Milan`. */
  readonly what: string;
  readonly at: Date;
}

export function certificateEndings(
  certificates: readonly { readonly commonName: string; readonly notAfter: Date }[],
): Ending[] {
  return certificates.map(({ commonName, notAfter }) => ({ what: `certificate ${commonName}`, at: notAfter }));
}

/** The first of them; at least one is there. */
export function firstEnding(endings: readonly Ending[]): Ending {
  const [first] = endings.toSorted((a, b) => a.at.getTime() - b.at.getTime());
  if (first === undefined) throw new TypeError("nothing ends");
  return first;
}
