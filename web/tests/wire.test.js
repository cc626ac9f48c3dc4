import assert from "node:assert/strict";
import { test } from "node:test";
import {
  WireError,
  base32,
  decodeInfo,
  decodePeer,
  decodeServer,
  encode,
  isStreamId,
  randomNodeId,
} from "../wire.js";

const NODE = "aeaqcaibaeaqcaibaeaqcaibae";
const OTHER = "aibaeaqcaibaeaqcaibaeaqcai";

/** @param {unknown} value */
const server = (value) => decodeServer(JSON.stringify(value));
/** @param {unknown} value */
const peer = (value) => decodePeer(JSON.stringify(value));

test("base32 is RFC 4648 in lower case without padding", () => {
  /** @param {string} s */
  const of = (s) => base32(new TextEncoder().encode(s));
  assert.deepEqual(
    ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(of),
    ["", "my", "mzxq", "mzxw6", "mzxw6yq", "mzxw6ytb", "mzxw6ytboi"],
  );
  assert.equal(base32(new Uint8Array(16).fill(1)), NODE);
  assert.match(randomNodeId(), /^[a-z2-7]{25}[aeimquy4]$/);
});

test("stream ids are 52 characters of base32", () => {
  assert.ok(isStreamId("a".repeat(52)));
  assert.ok(!isStreamId("A".repeat(52)));
  assert.ok(!isStreamId("a".repeat(51)));
  assert.ok(!isStreamId(""));
});

test("reads what a tracker says", () => {
  const welcome = server({
    welcome: {
      version: 1,
      ice_servers: [{ urls: ["stun:192.0.2.1:3478"], username: null, credential: null }],
      observed: "192.0.2.7:50000",
      report_interval_ms: 1000,
    },
  });
  assert.equal(welcome?.tag, "welcome");
  assert.deepEqual(server({ waiting: { reason: "no_media", ahead: 0 } })?.body, {
    reason: "no_media",
    ahead: 0,
  });
  const assigned = server({
    assigned: {
      link: { child: NODE, link: 3 },
      parent: OTHER,
      generation: 7,
      depth: 2,
      info: { body: "{}", signature: "AA" },
      relay: [],
    },
  });
  assert.ok(assigned?.tag === "assigned" && assigned.body.link.link === 3);
  const tree = server({
    tree: {
      reset: true,
      upsert: [
        {
          id: NODE,
          parent: null,
          standby: null,
          depth: 0,
          class: "native",
          slots: 2,
          used: 1,
          age: 5,
          delay_ms: 0,
          loss_permille: 0,
          reach: "open",
        },
      ],
      remove: [OTHER],
      per_depth: [1],
      hidden: 0,
    },
  });
  assert.ok(tree?.tag === "tree" && tree.body.upsert[0].parent === null);
});

test("what newer trackers add is passed over, what is broken is refused by name", () => {
  assert.equal(server("published"), null);
  assert.equal(server({ from_the_future: { a: 1 } }), null);
  assert.throws(() => server({ waiting: { reason: "bored", ahead: 0 } }), /message\.waiting\.reason/);
  assert.throws(() => server({ waiting: { reason: "full" } }), /message\.waiting\.ahead/);
  assert.throws(() => server({ answer: { link: { child: "x", link: 1 }, sdp: "" } }), WireError);
  assert.throws(() => server({ a: 1, b: 2 }), WireError);
  assert.throws(() => server(7), WireError);
  assert.throws(() => decodeServer("{"), WireError);
  assert.throws(() => decodeServer(new ArrayBuffer(2)), WireError);
  assert.throws(() => decodeServer(" ".repeat(300_000)), /at most/);
});

test("reads what a parent says", () => {
  assert.deepEqual(peer("bye"), { tag: "bye", body: null });
  const beat = peer({
    heartbeat: {
      sent_us: 10,
      echo_us: 0,
      held_us: 0,
      heads: [1, 2],
      path: [NODE],
      delay_us: 500,
      source_idle: false,
      healing: true,
    },
  });
  assert.ok(beat?.tag === "heartbeat" && beat.body.healing);
  assert.equal(peer({ signal: { to: NODE } }), null);
  assert.throws(() => peer({ heartbeat: { sent_us: -1 } }), WireError);
  assert.throws(() => peer({ hello: { version: 1, node: NODE, path: [], info: null, heads: [1, 2, 3, 4, 5] } }), /heads/);
});

test("reads the tracks of a stream, whatever else its description holds", () => {
  const body = JSON.stringify({
    epoch: 1_760_000_000_000,
    tracks: [{ codec: "vp8", fmtp: "", ssrc: 7, first_seq: 70_000 }],
    cname: "banyan",
  });
  assert.deepEqual(decodeInfo({ body, signature: "" }).tracks, [{ codec: "vp8", fmtp: "" }]);
  assert.throws(() => decodeInfo({ body: "[]", signature: "" }), WireError);
});

test("writes what the tracker reads", () => {
  assert.equal(encode("leave"), '"leave"');
  assert.equal(
    encode({ activate: { from: { key_frame: { last_rtp_timestamp: null } } } }),
    '{"activate":{"from":{"key_frame":{"last_rtp_timestamp":null}}}}',
  );
});
