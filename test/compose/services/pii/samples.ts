/** Texts with something to find in them, each match written out: no value here belongs to anybody. */
import { createHash } from "node:crypto";
import type { PiiClass } from "../../../../compose/services/pii/src/classes.ts";

export interface Sample {
  readonly text: string;
  readonly finds: readonly (readonly [PiiClass, string])[];
}

const mrz = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10";
const card = "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<";
const noise = (label: string, length: number): string => {
  let text = "";
  while (text.length < length) text += createHash("sha256").update(`${label}${text.length}`).digest("base64url");
  return text.slice(0, length).replace(/[-_]/g, "x");
};
const base64Lines = Array.from({ length: 12 }, (_, index) => noise(`key${index}`, 64)).join("\n");
/** Put together here, so that no scanner of this repository takes it for a key. */
const keyFile = `${"-".repeat(5)}BEGIN PRIVATE KEY${"-".repeat(5)}\n${base64Lines}\n${"-".repeat(5)}END`;
const webToken = `eyJ${noise("head", 33)}.eyJ${noise("body", 400)}.${noise("signature", 86)}`;
const githubToken = `ghp_${noise("github", 36)}`;

export const SAMPLES: readonly Sample[] = [
  { text: "Write to ana.maria+list@mail.example.org, please.", finds: [["email", "ana.maria+list@mail.example.org"]] },
  { text: "<mailto:o'brien@example.ie>", finds: [["email", "o'brien@example.ie"]] },
  { text: "an jürgen@xn--mnchen-3ya.de oder", finds: [["email", "jürgen@xn--mnchen-3ya.de"]] },
  { text: "пиши на иван@пример.рф!", finds: [["email", "иван@пример.рф"]] },
  { text: '{"to":"x_y-z@a-b.co.uk"}', finds: [["email", "x_y-z@a-b.co.uk"]] },
  { text: "ring +44 20 7946 0958 now", finds: [["phone", "+44 20 7946 0958"]] },
  { text: "or (415) 555-2671 x123.", finds: [["phone", "(415) 555-2671 x123"]] },
  { text: "phone: 0170/1234567, 089 1234567", finds: [["phone", "089 1234567"]] },
  { text: "mobile 06 12 34 56 78", finds: [["phone", "06 12 34 56 78"]] },
  { text: "电话+8613800138000。", finds: [["phone", "+8613800138000"]] },
  { text: "pay with 4111 1111 1111 1111 12/29", finds: [["payment-card", "4111 1111 1111 1111"]] },
  {
    text: "5555-5555-5555-4444,378282246310005",
    finds: [
      ["payment-card", "5555-5555-5555-4444"],
      ["payment-card", "378282246310005"],
    ],
  },
  {
    text: "3782 822463 10005 and 6011111111111117",
    finds: [
      ["payment-card", "3782 822463 10005"],
      ["payment-card", "6011111111111117"],
    ],
  },
  {
    text: "2223003122003222; 30569309025904; 3530111333300000",
    finds: [
      ["payment-card", "2223003122003222"],
      ["payment-card", "30569309025904"],
      ["payment-card", "3530111333300000"],
    ],
  },
  {
    text: "credit card 6304000000000000 and mir 2200 0000 0000 0004",
    finds: [
      ["payment-card", "6304000000000000"],
      ["payment-card", "2200 0000 0000 0004"],
    ],
  },
  {
    text: "4012888888881881 4012-8888-8888-1881 4012 8888 8888 1881 4012 8888 8888 1881 5555555555554444",
    finds: [
      ["payment-card", "4012888888881881"],
      ["payment-card", "4012-8888-8888-1881"],
      ["payment-card", "4012 8888 8888 1881"],
      ["payment-card", "4012 8888 8888 1881"],
      ["payment-card", "5555555555554444"],
    ],
  },
  { text: "to DE89 3704 0044 0532 0130 00 by", finds: [["iban", "DE89 3704 0044 0532 0130 00"]] },
  {
    text: "gb82west12345698765432/NO93 8601 1117 947",
    finds: [
      ["iban", "gb82west12345698765432"],
      ["iban", "NO93 8601 1117 947"],
    ],
  },
  {
    text: "from 93.184.216.34:443 and 2606:2800:220:1:248:1893:25c8:1946",
    finds: [
      ["ip-address", "93.184.216.34"],
      ["ip-address", "2606:2800:220:1:248:1893:25c8:1946"],
    ],
  },
  {
    text: "http://[2001:4860:4860::8888]/ fe80::1%eth0",
    finds: [
      ["ip-address", "2001:4860:4860::8888"],
      ["ip-address", "fe80::1"],
    ],
  },
  { text: "SSN 123-45-6789", finds: [["us-ssn", "123-45-6789"]] },
  { text: "social security number: 123456789", finds: [["us-ssn", "123456789"]] },
  {
    text: "NI number AB 12 34 56 C or JG103759A",
    finds: [
      ["uk-nino", "AB 12 34 56 C"],
      ["uk-nino", "JG103759A"],
    ],
  },
  { text: "Steuer-ID 86 095 742 719", finds: [["de-tax-id", "86 095 742 719"]] },
  { text: "Personalausweis L01X00T471", finds: [["de-id-card", "L01X00T471"]] },
  { text: "NIR 2 55 08 14 168 025 38", finds: [["fr-nir", "2 55 08 14 168 025 38"]] },
  { text: "n° 180052A00600172", finds: [["fr-nir", "180052A00600172"]] },
  {
    text: "DNI 12345678-Z, NIE X-1234567-L",
    finds: [
      ["es-dni", "12345678-Z"],
      ["es-dni", "X-1234567-L"],
    ],
  },
  {
    text: "RSSMRA85T10A562S; RSS MRA 85T10 A562S",
    finds: [
      ["it-fiscal-code", "RSSMRA85T10A562S"],
      ["it-fiscal-code", "RSS MRA 85T10 A562S"],
    ],
  },
  { text: "BSN 111222333", finds: [["nl-bsn", "111222333"]] },
  { text: "PESEL: 44051401359", finds: [["pl-pesel", "44051401359"]] },
  { text: "personnummer 811218-9876", finds: [["se-personnummer", "811218-9876"]] },
  { text: "CPF 529.982.247-25", finds: [["br-cpf", "529.982.247-25"]] },
  { text: "Aadhaar 2341 2341 2346", finds: [["in-aadhaar", "2341 2341 2346"]] },
  { text: `scan:\n${mrz}\nend`, finds: [["passport-mrz", mrz]] },
  { text: `${card}.`, finds: [["passport-mrz", card]] },
  { text: `token ${githubToken}.`, finds: [["secret", githubToken]] },
  { text: `bearer ${webToken} end`, finds: [["secret", webToken]] },
  { text: `${keyFile} PRIVATE KEY${"-".repeat(5)}\nbye`, finds: [["secret", keyFile]] },
  { text: "postgres://bob:hunter2@db:5432/x", finds: [["secret", "postgres://bob:hunter2"]] },
  { text: "password: 'tr0ub4dor&3'", finds: [["secret", "tr0ub4dor&3"]] },
  { text: "my SSN is １２３−４５−６７８９", finds: [["us-ssn", "１２３−４５−６７８９"]] },
  {
    text: "card 4111\u00a01111\u202f1111\u200b\u200d\u20091111 ok",
    finds: [["payment-card", "4111\u00a01111\u202f1111\u200b\u200d\u20091111"]],
  },
  {
    text: "card \u{1d7d2}111111111111111, ٤١١١١١١١١١١١١١١١",
    finds: [
      ["payment-card", "\u{1d7d2}111111111111111"],
      ["payment-card", "٤١١١١١١١١١١١١١١١"],
    ],
  },
  { text: "me\u00ad@exam\u200bple.com", finds: [["email", "me\u00ad@exam\u200bple.com"]] },
];
