import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import test, { type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import {
  clientAddress,
  type ProxyHeaderError,
  readProxyHeader,
  restLength,
} from "../../../../compose/services/service-kit/src/proxy-protocol.ts";
import { proxyHeader } from "../../../support/service-client.ts";

function parse(header: Buffer): unknown {
  const rest = header.subarray(16);
  assert.equal(restLength(header.subarray(0, 16)), rest.length);
  return clientAddress(header.subarray(0, 16), rest);
}

function with12(header: Buffer, at: number, byte: number): Buffer {
  const changed = Buffer.from(header);
  changed[at] = byte;
  return changed;
}

const MALFORMED = { code: "PROXY_HEADER_MALFORMED" };

test("reads the client's address: IPv4, IPv6, and none of a connection of the front itself", () => {
  assert.deepEqual(parse(proxyHeader("203.0.113.255", 65_535)), { address: "203.0.113.255", port: 65_535 });
  const six = Buffer.concat([Buffer.from(proxyHeader().subarray(0, 16)), Buffer.alloc(36)]);
  six[13] = 0x21;
  six.writeUInt16BE(36, 14);
  Buffer.from("20010db8000000000000000000000001", "hex").copy(six, 16);
  six.writeUInt16BE(443, 48);
  assert.deepEqual(parse(six), { address: "2001:db8:0:0:0:0:0:1", port: 443 });
  const local = Buffer.from(proxyHeader().subarray(0, 16));
  local.writeUInt16BE(0x2000, 12);
  local.writeUInt16BE(0, 14);
  assert.equal(parse(local), undefined);
});

test("passes over what follows the addresses", () => {
  const header = Buffer.concat([proxyHeader(), Buffer.from([0x04, 0, 1, 0])]);
  header.writeUInt16BE(16, 14);
  assert.deepEqual(parse(header), { address: "192.0.2.7", port: 40_000 });
});

test("refuses whatever else a header may be", () => {
  const header = proxyHeader();
  for (let at = 0; at < 12; at += 1) {
    assert.throws(() => restLength(with12(header, at, 0x41).subarray(0, 16)), MALFORMED, `signature, byte ${at}`);
  }
  for (const [at, byte] of [
    [12, 0x11],
    [12, 0x22],
    [13, 0x00],
    [13, 0x12],
    [13, 0x31],
    [14, 0x02],
  ] as const) {
    assert.throws(() => restLength(with12(header, at, byte).subarray(0, 16)), MALFORMED, `byte ${at}`);
  }
  assert.throws(() => clientAddress(header.subarray(0, 16), header.subarray(16, 27)), MALFORMED, "too short");
});

async function pair(t: TestContext): Promise<{ readonly client: Socket; readonly server: Socket }> {
  const listener = createServer();
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const client = connect((listener.address() as { port: number }).port, "127.0.0.1");
  client.setNoDelay();
  const [server] = (await once(listener, "connection")) as [Socket];
  t.after(() => {
    client.destroy();
    server.destroy();
    listener.close();
  });
  return { client, server };
}

test("takes the header and not one byte more, wherever the bytes are cut", async (t) => {
  const bytes = Buffer.concat([proxyHeader(), Buffer.from("after")]);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const { client, server } = await pair(t);
    const reading = readProxyHeader(server, 1_000);
    client.write(bytes.subarray(0, cut));
    await turn();
    await turn();
    client.write(bytes.subarray(cut));
    assert.deepEqual(await reading, { address: "192.0.2.7", port: 40_000 }, `cut at ${cut}`);
    let after = "";
    for (server.on("data", (piece) => (after += piece)); after !== "after"; ) await turn();
  }
});

test("gives up a connection that sends too little, too late or something else", async (t) => {
  const cases: readonly (readonly [string, Buffer, boolean, ProxyHeaderError["code"]])[] = [
    ["nothing", Buffer.alloc(0), true, "PROXY_HEADER_MISSING"],
    ["half", proxyHeader().subarray(0, 10), true, "PROXY_HEADER_MISSING"],
    ["no addresses", proxyHeader().subarray(0, 20), true, "PROXY_HEADER_MALFORMED"],
    ["silence", Buffer.alloc(0), false, "PROXY_HEADER_LATE"],
    ["half, then silence", proxyHeader().subarray(0, 20), false, "PROXY_HEADER_LATE"],
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), false, "PROXY_HEADER_MALFORMED"],
    ["version 1", Buffer.from("PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n"), false, "PROXY_HEADER_MALFORMED"],
  ];
  for (const [name, bytes, ends, code] of cases) {
    const { client, server } = await pair(t);
    const reading = readProxyHeader(server, 100);
    if (ends) client.end(bytes);
    else client.write(bytes);
    await assert.rejects(reading, { code }, name);
  }
});
