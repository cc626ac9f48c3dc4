import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { TrackerLink } from "../tracker-link.js";
import { VirtualClock, node } from "./world.js";

class FakeSocket {
  constructor() {
    /** @type {any[]} */
    this.sent = [];
    this.closed = false;
    this.onopen = () => {};
    /** @type {((event: { data: unknown }) => void) | null} */
    this.onmessage = null;
    this.onclose = () => {};
    this.onerror = () => {};
  }

  /** @param {string} text */
  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  welcome() {
    const welcome = { version: 1, ice_servers: [], observed: "", report_interval_ms: 1000 };
    this.onmessage?.({ data: JSON.stringify({ welcome }) });
  }
}

/** @type {FakeSocket[]} */
let sockets;
/** @type {VirtualClock} */
let clock;
/** @type {TrackerLink} */
let link;
/** @type {string[]} */
let events;

beforeEach(() => {
  sockets = [];
  events = [];
  clock = new VirtualClock();
  link = new TrackerLink({
    url: "ws://t/ws",
    clock,
    open: (_url, protocol) => {
      assert.equal(protocol, "banyan.1.json");
      sockets.push(new FakeSocket());
      return /** @type {any} */ (sockets[sockets.length - 1]);
    },
    node: () => node("b"),
    agent: "test",
    welcomed: () => events.push("welcome"),
    message: ({ tag }) => events.push(tag),
    down: () => events.push("down"),
  });
  link.start();
});

test("says hello first, and nothing before it is welcomed", () => {
  sockets[0].onopen();
  assert.deepEqual(sockets[0].sent, [
    { hello: { version: 1, node: node("b"), class: "browser", agent: "test", slots: 0 } },
  ]);
  link.send("leave");
  assert.equal(sockets[0].sent.length, 1);
  sockets[0].welcome();
  link.send("leave");
  assert.deepEqual(sockets[0].sent[1], "leave");
  assert.deepEqual(events, ["welcome"]);
});

test("comes back by itself, later each time, never later than five seconds", async () => {
  /** @type {number[]} */
  const waits = [];
  for (let i = 0; i < 8; i += 1) {
    const before = clock.time;
    sockets[i].onclose();
    while (sockets.length === i + 1) await clock.pass(50);
    waits.push(clock.time - before);
  }
  assert.ok(waits[0] >= 500 && waits[0] <= 800, `${waits[0]}`);
  assert.ok(waits.every((wait) => wait <= 5050), `${waits}`);
  assert.ok(waits[7] > 2000);
});

test("a tracker that never welcomes is called again", async () => {
  sockets[0].onopen();
  await clock.pass(20_000);
  assert.ok(sockets[0].closed);
  assert.ok(sockets.length > 1);
});

test("frames that cannot be read are passed over", () => {
  const { warn } = console;
  console.warn = () => {};
  sockets[0].welcome();
  sockets[0].onmessage?.({ data: "nonsense" });
  sockets[0].onmessage?.({ data: '{"waiting":{"reason":"full","ahead":1}}' });
  console.warn = warn;
  assert.deepEqual(events, ["welcome", "waiting"]);
});

test("a stopped line stays down", async () => {
  sockets[0].welcome();
  link.stop();
  sockets[0].onclose?.();
  await clock.pass(30_000);
  assert.equal(sockets.length, 1);
});
