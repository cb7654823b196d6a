/** What the certificates of both simulators are made of (RFC 5280). */
import { AsnConvert, OctetString } from "@peculiar/asn1-schema";
import {
  AttributeTypeAndValue,
  AttributeValue,
  BasicConstraints,
  Extension,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
} from "@peculiar/asn1-x509";

export function nameOf(commonName: string): Name {
  const value = new AttributeValue({ utf8String: commonName });
  return new Name([new RelativeDistinguishedName([new AttributeTypeAndValue({ type: "2.5.4.3", value })])]);
}

export function extension(extnID: string, value: Buffer, critical = false): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(value) });
}

export function authorityExtensions(): Extension[] {
  const keyUsage = new KeyUsage(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign);
  return [
    extension("2.5.29.19", Buffer.from(AsnConvert.serialize(new BasicConstraints({ cA: true }))), true),
    extension("2.5.29.15", Buffer.from(AsnConvert.serialize(keyUsage)), true),
  ];
}
