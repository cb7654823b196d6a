/**
 * What this service looks for, and what it does not. A class that is not in `PII_CLASSES` is never found,
 * whatever a policy says; the well-known ones among those are named in `NOT_DETECTED`, so that nobody reads
 * an empty list of findings as "there is nothing personal in here".
 */
export const PII_CLASSES = [
  "email",
  "phone",
  "payment-card",
  "iban",
  "ip-address",
  "us-ssn",
  "uk-nino",
  "de-tax-id",
  "de-id-card",
  "fr-nir",
  "es-dni",
  "it-fiscal-code",
  "nl-bsn",
  "pl-pesel",
  "se-personnummer",
  "br-cpf",
  "in-aadhaar",
  "passport-mrz",
  "secret",
] as const;

export type PiiClass = (typeof PII_CLASSES)[number];

/** Numbers that a state gives to one person. */
export const NATIONAL_IDS = [
  "us-ssn",
  "uk-nino",
  "de-tax-id",
  "de-id-card",
  "fr-nir",
  "es-dni",
  "it-fiscal-code",
  "nl-bsn",
  "pl-pesel",
  "se-personnummer",
  "br-cpf",
  "in-aadhaar",
  "passport-mrz",
] as const satisfies readonly PiiClass[];

/** Class → why it is not looked for. */
export const NOT_DETECTED: Readonly<Record<string, string>> = {
  "person-name": "needs a language model; word lists find too little and hit ordinary words",
  "postal-address": "has no checksum and no form that holds in more than one country",
  "date-of-birth": "cannot be told from other dates without understanding the sentence",
  health: "needs a language model",
  biometric: "needs a language model",
  minor: "needs a language model",
  "driver-license": "most states' formats are those of any short number",
  "bank-account": "national account numbers without an IBAN have no common form",
};

/** What replaces a value in redacted text, e.g. `[PAYMENT_CARD]`. */
export function markerOf(piiClass: PiiClass): string {
  return `[${piiClass.toUpperCase().replaceAll("-", "_")}]`;
}
