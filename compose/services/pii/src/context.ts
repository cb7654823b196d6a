/**
 * Words near a number say what it is. Whole words only ("card" is not in "discard"). A word of the class
 * raises the score, a word of ordinary numbers ("order", "version") lowers it: of those before the nearest one
 * decides, and a word of the class right behind outweighs it.
 */
import type { PiiClass } from "./classes.ts";
import { isAnyLetter, isUpper, type TextView } from "./text-view.ts";

/** How far before a match words are read, in code units of normalised text. */
export const CONTEXT_BEFORE = 64;
const CONTEXT_AFTER = 16;

const words = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/));

const ID = "ssn social security taxpayer tax insurance";
const WORDS: Partial<Record<PiiClass, ReadonlySet<string>>> = {
  phone: words(
    `phone phones telephone tel mobile cell cellphone fax call calls calling called dial ring reach sms text texts
     whatsapp signal hotline contact desk office message messages answering answer voicemail handy telefon mobil
     mobile anrufen rufnummer téléphone portable appeler teléfono móvil llamar telefono cellulare chiamare celular
     telefone ligar tel telefoon mobiel bellen telefonnummer komórka`,
  ),
  "payment-card": words(
    `card cards credit debit visa mastercard amex maestro diners discover jcb cc pan creditcard kreditkarte karte
     kartennummer carte bancaire tarjeta crédito carta credito cartão karta kort`,
  ),
  "ip-address": words("ip ipv4 ipv6 address host addr client remote server peer src dst"),
  "us-ssn": words(`${ID} ss itin`),
  "uk-nino": words(`${ID} nino ni national`),
  "de-tax-id": words("steuer steuerid idnr tin identifikationsnummer steueridentifikationsnummer tax taxpayer"),
  "de-id-card": words("ausweis personalausweis ausweisnummer personalausweisnummer identity passport reisepass"),
  "fr-nir": words("nir insee sécurité sociale sécu"),
  "es-dni": words("dni nie nif documento identidad identificación"),
  "it-fiscal-code": words("codice fiscale cf fiscal"),
  "nl-bsn": words("bsn burgerservicenummer sofinummer sofi burger"),
  "pl-pesel": words("pesel"),
  "se-personnummer": words("personnummer pnr samordningsnummer personal"),
  "br-cpf": words("cpf cadastro contribuinte"),
  "in-aadhaar": words("aadhaar aadhar adhaar uid uidai"),
};
const ORDINARY = words(
  `order orders invoice ticket case reference tracking shipment parcel version v ver build release rev revision
   serial sku item part article product commit hash sha checksum digest uuid guid port line page timestamp epoch
   time date isbn ean upc gtin imei lat latitude lon lng longitude coordinates amount total price quantity count
   size bytes offset row rows index issue bug batch lot bestellung rechnung auftrag commande facture pedido id ids
   seq sequence nonce trace span upgrade upgraded downgraded package pid session request`,
);

const RAISE = 0.4;
const LOWER = 0.3;
const SCORE_MAX = 0.99;

/** The score with the words around weighed in. */
export function weighContext(view: TextView, piiClass: PiiClass, start: number, end: number, score: number): number {
  const own = WORDS[piiClass];
  if (own === undefined) return score;
  const deciding = wordsBefore(view, start).find((word) => own.has(word) || ORDINARY.has(word));
  const raised = deciding !== undefined && own.has(deciding);
  if (raised || wordsAfter(view, end).some((word) => own.has(word))) return Math.min(SCORE_MAX, score + RAISE);
  return deciding === undefined ? score : score - LOWER;
}

/** The nearest first. */
function wordsBefore(view: TextView, start: number): readonly string[] {
  if (view.context?.start === start) return view.context.words;
  let from = Math.max(0, start - CONTEXT_BEFORE);
  // Not the end of a longer word.
  if (isAnyLetter(view.before(from))) while (from < start && isAnyLetter(view.code(from))) from++;
  const words = wordsIn(view.text, from, start).reverse();
  view.context = { start, words };
  return words;
}

function wordsAfter(view: TextView, end: number): readonly string[] {
  let until = end + CONTEXT_AFTER;
  // Not the start of a longer word; and to know whether there is more text.
  if (isAnyLetter(view.code(until))) while (until > end && isAnyLetter(view.before(until))) until--;
  return wordsIn(view.text, end, Math.min(until, view.length));
}

/** In small letters; `phoneNumber` is two. */
function wordsIn(text: string, from: number, until: number): string[] {
  const words: string[] = [];
  let start = -1;
  let wasLower = false;
  for (let at = from; at <= until; at++) {
    const code = at < until ? text.charCodeAt(at) : 0;
    const isPart = isAnyLetter(code) && !(wasLower && isUpper(code));
    if (start >= 0 && !isPart) {
      words.push(text.slice(start, at).toLowerCase());
      start = -1;
    }
    if (start < 0 && isAnyLetter(code)) start = at;
    wasLower = isAnyLetter(code) && !isUpper(code);
  }
  return words;
}
