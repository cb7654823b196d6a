/** The strings of a JSON value, each with the place that it stands in, so that it can be inspected and replaced. */
export interface TextPlace {
  readonly text: string;
  /** Undefined for the name of a member: that is never replaced. */
  readonly replace?: (text: string) => void;
}

/** Every string below `value` but the names in `knownNames`, in order. */
export function textPlaces(value: unknown, knownNames: ReadonlySet<string>): TextPlace[] {
  const places: TextPlace[] = [];
  const look = (inner: unknown, replace: (text: string) => void): void => {
    if (typeof inner === "string") {
      if (inner !== "") places.push({ text: inner, replace });
    } else if (Array.isArray(inner)) {
      inner.forEach((item, index) => {
        look(item, (text) => {
          inner[index] = text;
        });
      });
    } else if (typeof inner === "object" && inner !== null) {
      const object = inner as Record<string, unknown>;
      for (const [name, member] of Object.entries(object)) {
        if (!knownNames.has(name)) places.push({ text: name });
        look(member, (text) => {
          object[name] = text;
        });
      }
    }
  };
  look(value, () => {});
  return places;
}
