/** The page reads and writes the messages that every other program is tested against. */
import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decodeInfo, decodePeer, decodeServer, encode, isStreamId } from "../wire.js";
import { World, node } from "./world.js";

/** @typedef {{ name: string, json: any, bincode_hex: string }} Vector */

/** @param {string} name @returns {any} */
const read = (name) =>
  JSON.parse(readFileSync(new URL(`../../tests/vectors/${name}.json`, import.meta.url), "utf8"));

/** @param {any} message @returns {[string, any]} */
const opened = (message) =>
  typeof message === "string" ? [message, null] : /** @type {[string, any]} */ (Object.entries(message)[0]);

/**
 * What a value is made of, down to the names of its fields; lists and options may be empty.
 * @param {any} value
 * @returns {any}
 */
function form(value) {
  if (Array.isArray(value)) return "list";
  if (value === null || typeof value !== "object") return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, form(inner)]));
}

/** Messages of a tracker or a parent that are not for a page which only watches. */
const NOT_FOR_PAGES = [
  ...["challenge", "published", "expect", "release", "expect_standby", "no_standby", "move"],
  ...["activate", "deactivate", "key_frame", "offer", "pulse", "drain"],
];

for (const [file, decode] of /** @type {const} */ ([
  ["server", decodeServer],
  ["peer", decodePeer],
])) {
  test(`reads the messages of ${file}.json`, () => {
    for (const { name, json } of /** @type {Vector[]} */ (read(file))) {
      const [tag, body] = opened(json);
      const expected = NOT_FOR_PAGES.includes(tag) ? null : { tag, body };
      assert.deepEqual(decode(JSON.stringify(json)), expected, name);
    }
  });
}

test("writes the messages of client.json in their forms", async () => {
  /** @type {Vector[]} */
  const vectors = read("client");
  const world = new World();
  await world.welcome();
  await world.play(node("r"));
  await world.clock.pass(1000);
  world.upstream.events.lost("silent");
  await world.clock.pass(1000);
  world.peer.stop();
  const seen = new Set();
  for (const message of world.sent) {
    const [tag] = opened(message);
    const known = vectors.map(({ json }) => json).filter((json) => opened(json)[0] === tag);
    const forms = known.map((json) => JSON.stringify(form(json)));
    assert.ok(forms.includes(JSON.stringify(form(JSON.parse(encode(message))))), encode(message));
    seen.add(tag);
  }
  assert.deepEqual([...seen].sort(), ["attached", "candidate", "follow_tree", "join", "leave", "report"]);
});

test("the signatures belong to their streams", () => {
  for (const { name, stream, domain, message, signature } of read("signed")) {
    assert.ok(isStreamId(stream), name);
    const x = Buffer.from(unbase32(stream)).toString("base64url");
    const key = createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x } });
    const bytes = Buffer.from(domain + message, "utf8");
    assert.ok(verify(null, bytes, key, Buffer.from(signature, "base64url")), name);
  }
  const [{ message, signature }] = read("signed");
  assert.deepEqual(
    decodeInfo({ body: message, signature }).tracks.map(({ codec }) => codec),
    ["h264", "opus"],
  );
});

/** @param {string} text */
function unbase32(text) {
  let bits = "";
  for (const letter of text) {
    bits += "abcdefghijklmnopqrstuvwxyz234567".indexOf(letter).toString(2).padStart(5, "0");
  }
  return (bits.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2));
}
