import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { STREAM, World, node } from "./world.js";

const RELAY = node("s");
const HOST = node("t");

/** @type {World} */
let world;
beforeEach(async () => {
  world = new World();
  await world.welcome();
  await world.play(RELAY);
});

/** The standby's words to its end. */
const said = () => world.standby.heard.filter((word) => word.endsWith("activate"));

test("asks for a standby, and keeps it silent", async () => {
  const link = await world.standBy(HOST);
  assert.deepEqual(world.take("stand_by"), [{ stream: STREAM, link: 2, offer: "offer", lost: null }]);
  const told = world.take("candidate").filter((message) => message.link.link === 2);
  assert.equal(told.length, 2);
  assert.deepEqual(world.take("attached").at(-1), { link, generation: 4 });
  await world.clock.pass(60_000);
  assert.deepEqual([world.peer.view().standby, world.peer.view().parent], [HOST, RELAY]);
  assert.deepEqual([said(), world.take("stand_by"), world.prepared], [[], [], 0]);
});

test("right under the root none is asked for", async () => {
  world.upstream.path = [node("r")];
  world.upstream.events.word();
  await world.clock.pass(10_000);
  assert.deepEqual(world.take("stand_by"), []);
});

test("when the parent dies the standby feeds, and is the parent with its picture", async () => {
  const link = await world.standBy(HOST);
  world.take("join");
  world.take("stand_by");
  const old = world.upstream;
  old.freeze();
  await world.clock.pass(100);
  assert.deepEqual(said(), []);
  await world.clock.pass(80);
  assert.deepEqual([said(), world.prepared, old.fate], [["activate"], 2, "open"]);
  world.standby.shown();
  assert.deepEqual(world.take("switched"), [
    { link, parent: HOST, lost: { parent: RELAY, reason: "silent" } },
  ]);
  assert.deepEqual([old.fate, world.peer.state, world.peer.view().parent], ["closed", "playing", HOST]);
  assert.equal(world.peer.view().heals, 1);
  assert.ok(!world.states.includes("healing"), "the picture never stood still");
  await world.clock.pass(1100);
  assert.deepEqual(world.take("join"), []);
  assert.equal(world.take("stand_by").length, 1, "another one for the next time");
});

test("a parent that speaks again stays, and is suspected later from then on", async () => {
  await world.standBy(HOST);
  const stall = async (/** @type {number} */ ms) => {
    world.upstream.freeze();
    await world.clock.pass(ms);
    world.upstream.alive = true;
    await world.clock.pass(80);
  };
  await stall(170);
  assert.deepEqual(said(), ["activate", "deactivate"]);
  assert.deepEqual([world.prepared, world.peer.view().heals, world.upstream.fate], [0, 0, "open"]);
  await stall(170);
  assert.equal(said().filter((word) => word === "activate").length, 1, "no alarm within 180 ms");
  assert.deepEqual(world.take("switched"), []);
  world.take("stand_by");
  await world.clock.pass(11_100);
  assert.equal(world.take("stand_by").length, 1, "a link that carried media is replaced");
});

test("a standby that sends nothing is let go, and the parent too", async () => {
  await world.standBy(HOST);
  world.take("join");
  world.standby.freeze();
  world.upstream.freeze();
  await world.clock.pass(600);
  const [join] = world.take("join");
  assert.deepEqual(join.lost, { parent: RELAY, reason: "silent" });
  assert.equal(world.upstreams[1].fate, "closed");
  assert.equal(world.peer.state, "healing");
});

test("a parent that says goodbye is replaced at once", async () => {
  await world.standBy(HOST);
  world.take("join");
  world.upstream.events.lost("closed");
  assert.deepEqual(said(), ["activate"]);
  await world.clock.pass(80);
  assert.deepEqual(world.take("switched")[0].lost, { parent: RELAY, reason: "closed" });
  assert.deepEqual(world.take("join"), []);
});

test("a parent that is about to leave feeds until the standby's picture is up", async () => {
  await world.standBy(HOST);
  const old = world.upstream;
  old.events.drain();
  await world.clock.pass(900);
  assert.deepEqual([said(), old.fate, world.take("switched")], [["activate"], "open", []]);
  world.standby.shown();
  assert.deepEqual(world.take("switched")[0].lost, { parent: RELAY, reason: "leaving" });
  assert.equal(old.fate, "closed");
});

test("without a standby a parent that leaves feeds until the next one does", async () => {
  world.take("join");
  const old = world.upstream;
  old.events.drain();
  await world.clock.pass(0);
  assert.deepEqual(world.take("join").map(({ lost }) => lost), [null]);
  assert.deepEqual([world.peer.state, world.peer.view().parent, old.fate], ["playing", RELAY, "open"]);
  await world.assign(HOST);
  await world.hear("answer", { link: world.link, sdp: "answer" });
  world.take("attached");
  world.upstream.events.connected();
  assert.deepEqual(world.take("attached"), [], "the old parent would be told to stop");
  world.upstream.play();
  assert.equal(world.take("attached").length, 1);
  assert.deepEqual([world.peer.view().parent, world.peer.view().heals, old.fate], [HOST, 0, "closed"]);
});

test("a move that comes to nothing leaves the page where it is", async () => {
  world.take("join");
  await world.hear("move", { generation: 9 });
  await world.assign(HOST);
  assert.equal(world.take("join").length, 1);
  world.upstream.events.lost("unreachable");
  await world.clock.pass(3000);
  assert.deepEqual([world.take("join"), world.peer.view().parent, world.peer.state], [[], RELAY, "playing"]);
  await world.hear("move", { generation: 9 });
  assert.deepEqual(world.take("join"), [], "an order is obeyed once");
});

test("a parent that dies during a move is named, and healed from", async () => {
  await world.hear("move", { generation: 9 });
  const old = world.upstreams[0];
  old.events.lost("closed");
  assert.equal(world.peer.state, "healing");
  await world.play(HOST);
  assert.deepEqual([world.peer.state, world.peer.view().parent], ["playing", HOST]);
});

test("a standby below the parent is none", async () => {
  await world.standBy(HOST);
  world.take("stand_by");
  world.standby.path = [node("r"), RELAY, HOST];
  world.standby.events.word();
  assert.equal(world.upstreams[1].fate, "closed");
  await world.clock.pass(1100);
  assert.deepEqual(world.take("stand_by")[0].lost, { parent: HOST, reason: "closed" });
});

test("the tracker takes a standby back, or has none", async () => {
  const link = await world.standBy(HOST);
  world.take("stand_by");
  await world.hear("no_standby", { link });
  await world.clock.pass(0);
  assert.equal(world.upstreams[1].fate, "closed");
  assert.equal(world.take("stand_by").length, 1, "another one at once");
  await world.hear("no_standby", { link: { ...link, link: 3 } });
  await world.clock.pass(4000);
  assert.deepEqual(world.take("stand_by"), []);
  await world.clock.pass(1100);
  assert.equal(world.take("stand_by").length, 1);
});

test("without its tracker a page heals all the same", async () => {
  await world.standBy(HOST);
  world.peer.trackerDown();
  world.upstream.freeze();
  await world.clock.pass(200);
  world.standby.shown();
  assert.deepEqual([world.peer.state, world.peer.view().parent], ["playing", HOST]);
});

test("what the page itself slept through is nobody's silence", async () => {
  await world.standBy(HOST);
  world.upstream.freeze();
  // No timer ran for a second.
  for (const timer of world.clock.timers) timer.at += 1000;
  world.clock.time += 1000;
  await world.clock.pass(60);
  assert.deepEqual(said(), []);
});
