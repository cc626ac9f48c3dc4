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
 * Whether two values have the same parts, down to the names of their fields; lists may be empty and
 * options null.
 * @param {any} one @param {any} other
 * @returns {boolean}
 */
function alike(one, other) {
  if (one === null || other === null) return true;
  if (typeof one !== "object" || typeof other !== "object") return typeof one === typeof other;
  if (Array.isArray(one)) return Array.isArray(other);
  const keys = Object.keys(one);
  return `${keys}` === `${Object.keys(other)}` && keys.every((key) => alike(one[key], other[key]));
}

/** Messages of a tracker or a parent that are not for a page which only watches. */
const NOT_FOR_PAGES = [
  ...["challenge", "published", "expect", "expect_standby"],
  ...["activate", "deactivate", "key_frame", "offer"],
  ...["cold_parents", "admit", "signal"],
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
  await world.standBy(node("s"));
  world.peer.trackerDown();
  await world.welcome();
  await world.status("live");
  world.upstream.events.lost("silent");
  await world.clock.pass(1000);
  world.peer.stop();
  const seen = new Set();
  for (const message of world.sent) {
    const [tag] = opened(message);
    const written = JSON.parse(encode(message));
    assert.ok(vectors.some(({ json }) => alike(json, written)), encode(message));
    seen.add(tag);
  }
  assert.deepEqual([...seen].sort(), [
    ...["attached", "candidate", "follow_tree", "join", "leave", "report"],
    ...["stand_by", "standing", "switched"],
  ]);
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
